//! A volume: a disk in a pool, reported by the storage service.

use acp_base::{ByteSize, Name};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::image::DiskFormat;

/// What storage says of a volume. The object's name is `<pool>/<volume>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeMeta {
    /// The pool it lies in.
    pub pool: Name,
    /// Its name in the pool.
    pub volume: Name,
    /// The layout.
    pub format: DiskFormat,
    /// Size of the disk in bytes.
    pub size_bytes: ByteSize,
    /// Bytes its file takes.
    pub allocated_bytes: ByteSize,
    /// What it is a linked clone of, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<Backing>,
    /// Why it cannot be used, in a sentence; empty when it can.
    #[serde(default)]
    pub reason: String,
}

/// What lies below a linked clone: an image or a volume of the same pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Backing {
    /// `image` or `volume`.
    pub kind: crate::Kind,
    /// Its name.
    pub name: String,
}
