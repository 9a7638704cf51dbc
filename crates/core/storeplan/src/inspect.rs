//! What a file is, told from its beginning and its length.

use acp_base::ByteSize;
use acp_wire_model::image::DiskFormat;

use crate::{
    HeaderError, Qcow2, RawKind, SizeError, check_size, foreign,
    header::MAGIC,
    raw,
    size::{SECTOR_BYTES, check_length},
};

/// How much of a file's beginning [`inspect`] wants: enough for the Btrfs superblock, the last of the signatures.
pub const HEAD_BYTES: usize = 68 << 10;

/// A file that is a disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A qcow2 image.
    Qcow2(Qcow2),
    /// The bytes of a disk.
    Raw {
        /// What the disk holds.
        kind: RawKind,
        /// Its length in bytes.
        size: ByteSize,
    },
}

impl Content {
    /// The layout.
    pub const fn format(&self) -> DiskFormat {
        match self {
            Self::Qcow2(_) => DiskFormat::Qcow2,
            Self::Raw { .. } => DiskFormat::Raw,
        }
    }

    /// Size of the disk in bytes.
    pub const fn virtual_size(&self) -> ByteSize {
        match self {
            Self::Qcow2(header) => header.virtual_size,
            Self::Raw { size, .. } => *size,
        }
    }
}

/// Why a file is not taken as an image. The file is at fault; nothing changed; a retry cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// It has no content.
    #[error("the file is no disk image: it is empty")]
    Empty,
    /// It is recognised as something else.
    #[error("the file is no disk image that can be used: it is {what}; {cure}")]
    Foreign {
        /// What it is, with article.
        what: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// It is qcow2, but not one we take.
    #[error("the qcow2 image is refused: {0}")]
    Header(HeaderError),
    /// It names a file below, which could be any file of the host.
    #[error(
        "the qcow2 image is refused: it names a backing file, {0:?}; an imported image must stand alone \
         (make one with qemu-img convert -O qcow2)"
    )]
    Backing(String),
    /// Nothing in it looks like a disk.
    #[error(
        "the file is no disk image: it is not qcow2, and a raw disk begins with a boot sector, a partition table \
         or a file system, which this file does not"
    )]
    Unknown,
    /// Its size is no disk's.
    #[error("the image is refused: {0}")]
    Size(SizeError),
}

/// Decides what a file is that somebody wants to import: its first [`HEAD_BYTES`] (fewer if it is shorter) and its length.
/// Total: any bytes give a content or a precise error.
pub fn inspect(head: &[u8], file_bytes: u64) -> Result<Content, InspectError> {
    if head.is_empty() {
        return Err(InspectError::Empty);
    }
    if head.starts_with(&MAGIC) {
        return inspect_qcow2(head);
    }
    if let Some((what, cure)) = foreign::recognise(head) {
        return Err(InspectError::Foreign { what, cure });
    }
    inspect_raw(head, file_bytes)
}

fn inspect_qcow2(head: &[u8]) -> Result<Content, InspectError> {
    let header = Qcow2::parse(head).map_err(InspectError::Header)?;
    if let Some(name) = header.backing {
        return Err(InspectError::Backing(name));
    }
    check_size(header.virtual_size).map_err(InspectError::Size)?;
    Ok(Content::Qcow2(header))
}

fn inspect_raw(head: &[u8], file_bytes: u64) -> Result<Content, InspectError> {
    let Some(kind) = raw::recognise(head) else { return Err(InspectError::Unknown) };
    let size = ByteSize(file_bytes);
    if !file_bytes.is_multiple_of(SECTOR_BYTES) {
        check_length(file_bytes).map_err(InspectError::Size)?;
    }
    check_size(size).map_err(InspectError::Size)?;
    Ok(Content::Raw { kind, size })
}
