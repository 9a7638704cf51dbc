//! A unit that the framework supervises.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// What a unit is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum UnitState {
    /// Not running, and not meant to.
    Stopped,
    /// Waits until the units it needs are ready.
    Waiting,
    /// Its process runs and has not yet said that it is ready.
    Starting,
    /// Ready.
    Ready,
    /// Was asked to end.
    Stopping,
    /// Ended unexpectedly; starts again when the pause is over.
    Backoff,
    /// Ended and is not started again: it ended by its own contract, or too often. The reason says which.
    Failed,
}

/// The reason of a stopped unit that roles name, but none of its node's: it shall not run.
pub const WITHHELD: &str = "no role of this node names it";

/// What the framework says of a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitMeta {
    /// What it is doing.
    pub state: UnitState,
    /// Why, in a sentence; empty when there is nothing to say.
    #[serde(default)]
    pub reason: String,
    /// The template it was made from.
    pub template: String,
    /// Its main process while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The user it runs as.
    pub uid: u32,
    /// Unplanned restarts since the framework knows it.
    pub restarts: u32,
    /// How it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<UnitExit>,
    /// When it entered the state, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

impl UnitMeta {
    /// Whether it does not run because no role of its node names it.
    pub fn is_withheld(&self) -> bool {
        self.state == UnitState::Stopped && self.reason == WITHHELD
    }
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitExit {
    /// Exit status, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// Signal number, if a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether the kernel killed it because its memory limit was reached.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Whether how it ended is unknown, because its shim was lost.
    #[serde(default)]
    pub lost: bool,
}

/// Measurements of a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnitStats {
    /// Processor time used, in milliseconds.
    pub cpu_ms: u64,
    /// Memory of its cgroup in bytes.
    pub memory_bytes: u64,
    /// Size of its log files in bytes.
    pub log_bytes: u64,
}
