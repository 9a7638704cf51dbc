//! Verbs on images, pools and volumes.

use std::{fmt, path::PathBuf, str::FromStr};

use acp_base::{ByteSize, Name};
use acp_wire_model::image::DiskFormat;
use clap::{Subcommand, ValueEnum};

use super::{NameArg, Wait};

/// Verbs on images.
#[derive(Clone, Debug, Subcommand)]
pub enum ImageVerb {
    /// List all images
    List,
    /// Import an image from a file or an http(s) address; its format is detected
    Import {
        /// The new image
        name: Name,
        /// A file, or an address that begins with http:// or https://; - reads an address from the standard input, for one
        /// with credentials
        #[arg(value_name = "FILE-OR-URL")]
        from: String,
        /// The pool it shall lie in [default: default]
        #[arg(long)]
        pool: Option<Name>,
        /// Refuse the file unless its SHA-256 is this, 64 hexadecimal digits
        #[arg(long, value_name = "DIGEST")]
        sha256: Option<String>,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete an image that no volume depends on
    Delete(NameArg),
}

/// Verbs on pools.
#[derive(Clone, Debug, Subcommand)]
pub enum PoolVerb {
    /// List all pools
    List,
    /// Show one pool
    Show(NameArg),
    /// Create a pool in a directory
    Create {
        /// The new pool
        name: Name,
        /// The directory, which the storage service must be able to write [default: below its own]
        #[arg(long, value_name = "DIR")]
        path: Option<PathBuf>,
    },
}

/// Verbs on volumes.
#[derive(Clone, Debug, Subcommand)]
pub enum VolumeVerb {
    /// List all volumes
    List,
    /// Create a volume, empty or as a linked clone of an image
    Create {
        /// The new volume
        #[arg(value_name = "POOL/NAME")]
        name: VolumeName,
        /// Size of the disk, like 2GiB [default: the image's]
        #[arg(long, required_unless_present = "image")]
        size: Option<ByteSize>,
        /// The image it is a linked clone of
        #[arg(long)]
        image: Option<Name>,
        /// Its layout [default: qcow2]
        #[arg(long, value_enum, value_name = "FORMAT")]
        format: Option<DiskFormatArg>,
    },
    /// Copy a volume, or make a linked clone of it, in the same pool
    Clone {
        /// The volume to clone
        #[arg(value_name = "POOL/SOURCE")]
        source: VolumeName,
        /// The new volume
        #[arg(value_name = "POOL/TARGET")]
        target: VolumeName,
        /// Share the source's blocks; the source can then neither be written nor deleted
        #[arg(long)]
        linked: bool,
        /// Whether to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Make a volume larger
    Expand {
        /// The volume
        #[arg(value_name = "POOL/NAME")]
        name: VolumeName,
        /// The new size, not below the present one
        #[arg(long)]
        size: ByteSize,
    },
    /// Delete a volume that no system uses and nothing depends on
    Delete {
        /// The volume
        #[arg(value_name = "POOL/NAME")]
        name: VolumeName,
    },
}

/// The layout of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiskFormatArg {
    /// QEMU copy on write
    Qcow2,
    /// The bytes of the disk
    Raw,
}

impl From<DiskFormatArg> for DiskFormat {
    fn from(format: DiskFormatArg) -> Self {
        match format {
            DiskFormatArg::Qcow2 => Self::Qcow2,
            DiskFormatArg::Raw => Self::Raw,
        }
    }
}

/// A volume's full name: `POOL/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeName {
    /// The pool.
    pub pool: Name,
    /// The volume in the pool.
    pub volume: Name,
}

impl FromStr for VolumeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((pool, volume)) = text.split_once('/') else {
            return Err(format!("a volume is named POOL/NAME, like default/{text}"));
        };
        let part =
            |what: &str, name: &str| name.parse().map_err(|error| format!("the {what}'s name {name:?}: {error}"));
        Ok(Self { pool: part("pool", pool)?, volume: part("volume", volume)? })
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_named_with_its_pool() {
        assert_eq!("default/a.b".parse::<VolumeName>().map(|name| name.to_string()), Ok("default/a.b".into()));
        let refused = |text: &str| text.parse::<VolumeName>().expect_err(text);
        assert_eq!(refused("disk"), "a volume is named POOL/NAME, like default/disk");
        assert!(refused("default/../x").starts_with("the volume's name \"../x\": "));
        assert!(refused("/x").starts_with("the pool's name \"\": "));
    }
}
