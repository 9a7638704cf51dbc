//! `acp.storage`: pools, volumes and images.

use acp_base::{ByteSize, Name};
use acp_wire_model::image::DiskFormat;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::{Empty, jobs::Started};

interface! {
    /// Pools, volumes and images of this node. They are read as objects of kind `pool`, `volume` and `image`.
    "acp.storage";
    /// Declares a pool and prepares it; answers when it is ready.
    Once CreatePool(CreatePoolRequest) -> Empty, Write, [];
    /// Makes a volume: empty, or a linked clone of an image. The same call again finds it and changes nothing.
    Once CreateVolume(CreateVolumeRequest) -> VolumeReply, Write, ["hypervisor"];
    /// Starts a job that copies a volume, or makes a linked clone of it at once.
    Once CloneVolume(CloneVolumeRequest) -> Started, Write, ["hypervisor"];
    /// Makes a volume larger.
    Once ExpandVolume(ExpandVolumeRequest) -> VolumeReply, Write, ["hypervisor"];
    /// Removes a volume that nothing depends on and no system uses. `if_exists` makes its absence no error.
    Once DeleteVolume(DeleteVolumeRequest) -> Empty, Write, ["hypervisor"];
    /// Opens a volume for a system: answers its layers from the top down, with one open file descriptor each.
    Once OpenVolume(VolumeRequest) -> OpenVolumeReply, Internal, ["hypervisor"];
    /// Starts a job that imports an image: from the one file descriptor that comes with the call, or from `url`. The job
    /// detects the format, refuses what is no image or reaches outside the pool, and declares the image at its end.
    Once ImportImage(ImportImageRequest) -> Started, Write, [];
    /// Removes an image that no volume and no system depends on.
    Once DeleteImage(ImageRequest) -> Empty, Write, [];
}

/// See [`CreatePool`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreatePoolRequest {
    /// The pool's name.
    pub name: Name,
    /// Absolute path of a directory that the storage service may write; absent: below its own state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Which volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct VolumeRequest {
    /// The pool.
    pub pool: Name,
    /// The volume.
    pub volume: Name,
}

/// See [`CreateVolume`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateVolumeRequest {
    /// The pool.
    pub pool: Name,
    /// The new volume.
    pub volume: Name,
    /// Size of the disk in bytes, a multiple of 512; absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<ByteSize>,
    /// The image it is a linked clone of; absent: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// The layout; absent: `qcow2`. A linked clone is always `qcow2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DiskFormat>,
}

/// See [`CloneVolume`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct CloneVolumeRequest {
    /// The pool.
    pub pool: Name,
    /// The volume to clone.
    pub volume: Name,
    /// The new volume in the same pool.
    pub target: Name,
    /// Whether the clone shares the blocks of its source, which can then neither be used for writing nor deleted.
    #[serde(default)]
    pub linked: bool,
}

/// See [`ExpandVolume`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ExpandVolumeRequest {
    /// The pool.
    pub pool: Name,
    /// The volume.
    pub volume: Name,
    /// The new size in bytes, a multiple of 512, not below the present one.
    pub size_bytes: ByteSize,
}

/// See [`DeleteVolume`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct DeleteVolumeRequest {
    /// The pool.
    pub pool: Name,
    /// The volume.
    pub volume: Name,
    /// Whether its absence is no error.
    #[serde(default)]
    pub if_exists: bool,
}

/// A volume as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VolumeReply {
    /// The layout.
    pub format: DiskFormat,
    /// Size of the disk in bytes.
    pub size_bytes: ByteSize,
}

/// One file of a volume's chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Layer {
    /// The layout.
    pub format: DiskFormat,
    /// Whether the descriptor is open for writing: the top layer alone.
    pub writable: bool,
}

/// See [`OpenVolume`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct OpenVolumeReply {
    /// From the top down, in the order of the file descriptors.
    pub layers: Vec<Layer>,
}

/// See [`ImportImage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportImageRequest {
    /// The new image.
    pub name: Name,
    /// The pool; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// `http://` or `https://`; absent: a file descriptor comes with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What people shall read about where it came from; absent: the URL without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The SHA-256 the file must have, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Which image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ImageRequest {
    /// The image.
    pub name: Name,
}
