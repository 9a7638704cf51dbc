//! A host in the cluster.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// What the cluster knows a node by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    /// Free text for people.
    #[serde(default)]
    pub description: String,
}

/// What the hypervisor says of its node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeMeta {
    /// Processors the node can give to systems.
    pub cpus: u32,
    /// Memory of the host in bytes.
    pub memory_bytes: u64,
    /// `kvm` or `tcg`, as proved by booting; empty while the proof runs.
    pub accelerator: String,
    /// How the accelerator was decided, in a sentence.
    pub accelerator_reason: String,
    /// The kernel's release.
    pub kernel: String,
    /// The version of QEMU.
    pub qemu: String,
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
}

/// Measurements of the node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStats {
    /// Share of all processors in use since the last measurement, 0 to 100.
    pub cpu_percent: f64,
    /// Memory that new systems could use, in bytes.
    pub memory_available_bytes: u64,
    /// Memory promised to running systems, in bytes.
    pub memory_committed_bytes: u64,
    /// Load average over one minute.
    pub load_1: f64,
    /// Seconds since boot.
    pub uptime_s: u64,
}
