//! An image: a read-only disk that systems are made from.

use acp_base::{ByteSize, Name};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// How a disk file is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum DiskFormat {
    /// QEMU copy on write, version 2 or 3.
    Qcow2,
    /// The bytes of the disk.
    Raw,
}

/// An image as it was imported. It never changes; a new content is a new image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// The node that has it; its name is unique there. Absent as in `NetworkSpec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// The pool its file lies in.
    pub pool: Name,
    /// The layout, detected from the content.
    pub format: DiskFormat,
    /// Size of the file in bytes.
    pub size_bytes: ByteSize,
    /// Size of the disk in bytes.
    pub virtual_size_bytes: ByteSize,
    /// SHA-256 of the file as imported, 64 hexadecimal digits.
    pub sha256: String,
    /// Where it came from, without credentials.
    #[serde(default)]
    pub source: String,
}

/// What storage says of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageMeta {
    /// Whether the file is there and has the size recorded.
    pub present: bool,
    /// Why not, in a sentence.
    #[serde(default)]
    pub reason: String,
}
