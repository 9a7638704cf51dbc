//! A virtual machine.

use acp_base::{ByteSize, Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// What was asked of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SystemSpec {
    /// The node it is pinned to.
    pub node: Name,
    /// Virtual processors, 1 to 512.
    pub cpus: u32,
    /// Memory in bytes, a multiple of 1 MiB, at least 32 MiB.
    pub memory_bytes: ByteSize,
    /// Disks, in boot order; at most 16.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// Network interfaces; at most 16.
    #[serde(default)]
    pub nics: Vec<NicSpec>,
    /// Whether it is started when its node starts.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it may run on other nodes than `node` and therefore only under a lease; otherwise it is pinned: its node runs it
    /// without asking anybody.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub floating: bool,
}

/// One disk of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// The pool its volume lies in.
    pub pool: Name,
    /// The volume's name in the pool.
    pub volume: Name,
    /// Size in bytes.
    pub size_bytes: ByteSize,
    /// The image it is a linked clone of; absent: an empty disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
}

/// One network interface of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NicSpec {
    /// The network it is attached to.
    pub network: Name,
    /// `52:54:00:xx:xx:xx`; filled in at apply if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// IPv4 address within the network; filled in at apply if absent and the network has DHCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Whether a system should run: its node's own decision for a pinned system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum PowerIntent {
    /// It should run.
    On,
    /// It should not.
    Off,
}

/// What a system is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum SystemState {
    /// Declared; its volumes are being made.
    Creating,
    /// Not running.
    Stopped,
    /// On its way to running.
    Starting,
    /// Its processors run.
    Running,
    /// Loaded, its processors stand still.
    Paused,
    /// On its way to stopped.
    Stopping,
    /// Its disks are being removed.
    Deleting,
    /// It ought to run and cannot; the reason says why.
    Failed,
}

/// Why a system last stopped running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum ExitReason {
    /// The guest powered itself off, by itself or after `shutdown`.
    GuestPoweroff,
    /// An operator stopped it.
    Stopped,
    /// Its process was killed from outside.
    Killed,
    /// The kernel killed it because its memory limit was reached.
    OutOfMemory,
    /// QEMU ended with an error or a fatal signal.
    Crashed,
    /// It never came up.
    StartFailed,
}

/// What the hypervisor says of a system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemMeta {
    /// What it is doing.
    pub state: SystemState,
    /// The power intent of its node.
    pub intent: PowerIntent,
    /// Why it is in that state, in a sentence; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// Why it last stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitReason>,
    /// The node it runs on.
    pub node: Name,
    /// QEMU's process id while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// `kvm` or `tcg` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// When it entered the state, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The job at work on it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Uid>,
}

/// Measurements of a system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SystemStats {
    /// Processor use of QEMU since the last measurement in percent of one processor.
    pub cpu_percent: f64,
    /// Memory of QEMU's cgroup in bytes.
    pub memory_bytes: u64,
}
