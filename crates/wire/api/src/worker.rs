//! `acp.storage.worker`: one pool's worker process, called by the storage service alone.

use acp_base::{ByteSize, Uid};
use acp_wire_model::{image::DiskFormat, pool::PoolStats};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::{Empty, storage::Layer};

interface! {
    /// One pool's worker process: every file operation of the pool happens here, so that a hung file system hangs this
    /// process and nothing else.
    "acp.storage.worker";
    /// Looks at the whole pool: space, volumes, images.
    Once Scan(Empty) -> ScanReply, Internal, ["storage"];
    /// Makes a volume: empty or above the file given as backing.
    Once Create(CreateRequest) -> FileInfo, Internal, ["storage"];
    /// Copies a volume; replies as it proceeds.
    Stream Copy(CopyRequest) -> CopyReply, Internal, ["storage"];
    /// Makes a volume larger.
    Once Expand(ExpandRequest) -> FileInfo, Internal, ["storage"];
    /// Removes a file; no error if it is not there.
    Once Remove(FileRequest) -> Empty, Internal, ["storage"];
    /// Opens a volume and everything below it; the descriptors come with the reply, top layer first.
    Once Open(FileRequest) -> OpenReply, Internal, ["storage"];
    /// Writes an image from the file descriptor that comes with the call, or from a URL, into the staging area, checks it
    /// and moves it into place; replies as it proceeds.
    Stream Import(ImportRequest) -> ImportReply, Internal, ["storage"];
}

/// A file of the pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct FileRef {
    /// `volume` or `image`.
    pub kind: acp_wire_model::Kind,
    /// A volume's name, or an image's uid.
    pub name: String,
}

/// Which file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct FileRequest {
    /// The file.
    pub file: FileRef,
}

/// A file as its header and inode say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct FileInfo {
    /// The file.
    pub file: FileRef,
    /// The layout.
    pub format: DiskFormat,
    /// Size of the disk in bytes.
    pub virtual_size_bytes: ByteSize,
    /// Bytes it takes on the file system.
    pub allocated_bytes: ByteSize,
    /// Length of the file in bytes.
    pub file_bytes: ByteSize,
    /// What lies directly below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<FileRef>,
    /// Tells this file from an earlier one of the same name: inode number and time of birth.
    #[serde(default)]
    pub identity: String,
    /// Why it cannot be used, in a sentence; empty when it can.
    #[serde(default)]
    pub reason: String,
}

/// See [`Scan`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ScanReply {
    /// The directory in use.
    pub path: String,
    /// Space and counts.
    pub stats: PoolStats,
    /// Every volume and image, ordered.
    pub files: Vec<FileInfo>,
}

/// See [`Create`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// The new volume's name.
    pub name: String,
    /// The layout.
    pub format: DiskFormat,
    /// Size of the disk in bytes; absent: the backing's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<ByteSize>,
    /// What lies below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backing: Option<FileRef>,
}

/// See [`Copy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// The source.
    pub source: FileRef,
    /// The new volume's name.
    pub target: String,
}

/// See [`Copy`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct CopyReply {
    /// 0 to 100.
    pub percent: u32,
    /// The finished volume, in the last reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<FileInfo>,
}

/// See [`Expand`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ExpandRequest {
    /// The volume's name.
    pub name: String,
    /// The new size in bytes.
    pub size_bytes: ByteSize,
}

/// See [`Open`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct OpenReply {
    /// Top layer first, in the order of the file descriptors.
    pub layers: Vec<Layer>,
}

/// See [`Import`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The image's identity, which becomes its file name.
    pub uid: Uid,
    /// Where to fetch it; absent: a file descriptor comes with the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The SHA-256 it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// See [`Import`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ImportReply {
    /// 0 to 100; absent when the length is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// The finished image, in the last reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<FileInfo>,
    /// Its SHA-256, in the last reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}
