//! A pool: where volumes and images lie.

use acp_base::Name;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// How a pool stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum PoolDriver {
    /// Files in a directory.
    Directory,
}

/// What was asked of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// How it stores.
    pub driver: PoolDriver,
    /// The node it is local to.
    pub node: Name,
    /// Absolute path of the directory; absent: below the storage service's own state directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Whether a pool works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum PoolState {
    /// Its worker answers and its directory can be written.
    Ready,
    /// It cannot be used; the reason says why.
    Failed,
}

/// What storage says of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolMeta {
    /// Whether it works.
    pub state: PoolState,
    /// Why not, in a sentence; empty when it works.
    #[serde(default)]
    pub reason: String,
    /// The directory in use.
    pub path: String,
}

/// Measurements of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PoolStats {
    /// Size of the file system in bytes.
    pub capacity_bytes: u64,
    /// Bytes a new file may take.
    pub free_bytes: u64,
    /// Number of volumes.
    pub volumes: u32,
    /// Number of images.
    pub images: u32,
}
