//! `acp.framework`: the supervisor of a node's units.

use acp_base::Uid;
use acp_wire_model::unit::{UnitMeta, UnitStats};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zlink::introspect::Type;

use crate::Empty;

interface! {
    /// The supervisor of a node's units. A unit is named `<template>` or `<template>@<instance>`.
    "acp.framework";
    /// Answers every unit in start order.
    Once ListUnits(Empty) -> ListUnitsReply, Read, ["cluster", "hypervisor", "network", "storage"];
    /// Answers one unit.
    Once GetUnit(UnitRequest) -> UnitReply, Read, ["cluster", "hypervisor", "network", "storage"];
    /// Answers every unit, then each unit that changes; a unit that is gone comes with `gone`.
    Stream WatchUnits(WatchUnitsRequest) -> WatchUnitsReply, Read, ["cluster", "hypervisor", "network", "storage"];
    /// Starts a unit that is stopped or failed; answers when it is ready or has failed.
    Once StartUnit(UnitRequest) -> UnitReply, Admin, [];
    /// Stops a unit and keeps it stopped; answers when its processes are gone.
    Once StopUnit(UnitRequest) -> UnitReply, Admin, [];
    /// Stops and starts a unit; answers when it is ready or has failed.
    Once RestartUnit(UnitRequest) -> UnitReply, Admin, [];
    /// Makes a unit from a template that names the caller as an owner, and starts it; answers when its process runs. File
    /// descriptors that come with the call are inherited by the process, named by `fds`. Asking again for a unit that runs
    /// with the same parameters is no error and changes nothing.
    Once SpawnUnit(SpawnUnitRequest) -> UnitReply, Internal, ["hypervisor", "network", "storage"];
    /// Stops a unit that was made from a template and forgets it; no error if there is none. Answers when its processes are
    /// gone.
    Once RemoveUnit(UnitRequest) -> RemoveUnitReply, Internal, ["hypervisor", "network", "storage"];
    /// Sends a signal to a unit's main process (`HUP`, `USR1`, `USR2`).
    Once SignalUnit(SignalUnitRequest) -> Empty, Internal, ["hypervisor", "network", "storage"];
    /// Answers the last lines of a unit's log, then new ones if asked to follow.
    Stream ReadLog(ReadLogRequest) -> ReadLogReply, Read, ["hypervisor"];
    /// Answers what was found out about the host at start.
    Once GetHost(Empty) -> Host, Read, ["cluster", "hypervisor", "network", "storage"];
    /// Answers the processes whose program was replaced on disk since they started, in start order: what an upgrade has still
    /// to restart.
    Once ListReplaced(Empty) -> ListReplacedReply, Read, [];
    /// Starts the framework and its guard anew from what is on disk; units go on. The connection may end before the answer.
    Once RestartFramework(Empty) -> Empty, Admin, [];
}

/// Which unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct UnitRequest {
    /// `<template>` or `<template>@<instance>`.
    pub name: String,
}

/// A unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Unit {
    /// `<template>` or `<template>@<instance>`.
    pub name: String,
    /// Identity of this unit since it was made.
    pub uid: Uid,
    /// Its state.
    pub meta: UnitMeta,
    /// Its measurements.
    pub stats: UnitStats,
}

/// One unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct UnitReply {
    /// As it is now.
    pub unit: Unit,
}

/// See [`ListUnits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListUnitsReply {
    /// In start order.
    pub units: Vec<Unit>,
}

/// See [`WatchUnits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct WatchUnitsRequest {
    /// Only units of these templates; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
}

/// See [`WatchUnits`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct WatchUnitsReply {
    /// The units that are there (first reply: all) or changed.
    pub units: Vec<Unit>,
    /// Names of units that are gone.
    #[serde(default)]
    pub gone: Vec<String>,
}

/// See [`SpawnUnit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct SpawnUnitRequest {
    /// The template.
    pub template: String,
    /// The instance: 1 to 64 letters, digits, dots, underscores and dashes.
    pub instance: String,
    /// Appended to the template's arguments, if it allows any. `{fd:NAME}` stands for the number of an inherited
    /// descriptor, `{run}`, `{state}`, `{log}` and `{instance}` for paths and the instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Names of the descriptors that come with the call, in order; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fds: Vec<String>,
    /// Added to the environment; keys begin with `ACP_`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Tightens the template's limits.
    #[serde(default)]
    pub limits: Limits,
}

/// Bounds of a unit's cgroup; absent: the template's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time in percent of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

/// See [`RemoveUnit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct RemoveUnitReply {
    /// The unit as it was last; absent: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// See [`SignalUnit`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct SignalUnitRequest {
    /// The unit.
    pub name: String,
    /// `HUP`, `USR1` or `USR2`.
    pub signal: String,
}

/// See [`ReadLog`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ReadLogRequest {
    /// The unit.
    pub name: String,
    /// How many of the last lines; at most 10,000.
    pub lines: u32,
    /// Goes on with new lines.
    #[serde(default)]
    pub follow: bool,
}

/// See [`ReadLog`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ReadLogReply {
    /// Without line ends; bytes that are no UTF-8 are replaced.
    pub lines: Vec<String>,
}

/// See [`GetHost`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Host {
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
    /// The controllers in use, like `memory cpu pids`.
    pub controllers: Vec<String>,
    /// The kernel's boot id: changes with each boot of the host.
    pub boot_id: String,
    /// The node's name.
    pub node: String,
}

/// See [`ListReplaced`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListReplacedReply {
    /// The guard and the framework first, then units in start order.
    pub processes: Vec<Replaced>,
}

/// A process that runs a program which is no longer the one on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Replaced {
    /// The unit it belongs to; `framework` for the framework and its guard.
    pub unit: String,
    /// What it is to the unit.
    pub role: Role,
    /// The process.
    pub pid: u32,
    /// The path at which another program, or none, is now.
    pub program: String,
    /// Whether it keeps the old program until its unit ends by itself: a restart would be that end, as for a guest.
    pub is_kept: bool,
}

/// What a process is to its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Role {
    /// The unit's main process.
    Main,
    /// Its shim.
    Shim,
    /// The framework's guard.
    Guard,
}
