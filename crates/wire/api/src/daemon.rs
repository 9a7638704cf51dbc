//! `acp.daemon`: what every daemon answers about itself.

use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::{Empty, principal::Principal};

interface! {
    /// What every daemon answers about itself.
    "acp.daemon";
    /// Says who and how the daemon is.
    Once GetHealth(Empty) -> Health, Read, ["framework", "hub", "hypervisor", "node"];
    /// Answers the daemon's metrics in Prometheus' text format.
    Once GetMetrics(Empty) -> Metrics, Read, [];
    /// Changes what is logged until the next start: off, error, warn, info, debug or trace, or a filter like
    /// `info,acp_cluster=debug`.
    Once SetLogLevel(SetLogLevelRequest) -> SetLogLevelReply, Admin, ["framework"];
    /// Says on whose behalf all further calls on this connection are made. Only once.
    Once ActFor(ActForRequest) -> Empty, Internal, ["agent"];
}

/// Who and how a daemon is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// The daemon's noun, like `cluster`.
    pub service: String,
    /// The build.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// Milliseconds since it started.
    pub uptime_ms: u64,
    /// Whether it does its work; `reason` says why not.
    pub ready: bool,
    /// Why it is not ready, or what it does without; empty when all is well.
    pub reason: String,
    /// Open connections.
    pub connections: u64,
    /// Calls being answered.
    pub calls: u64,
    /// The newest feature level of the log that the build reads and writes.
    #[serde(default = "first_level")]
    pub feature_level: u32,
}

/// What builds read that do not say it.
const fn first_level() -> u32 {
    1
}

/// Metrics as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Metrics {
    /// Prometheus' text format, version 0.0.4.
    pub text: String,
}

/// See [`SetLogLevel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct SetLogLevelRequest {
    /// The level or filter.
    pub level: String,
}

/// See [`SetLogLevel`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct SetLogLevelReply {
    /// The filter in force before.
    pub previous: String,
}

/// See [`ActFor`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ActForRequest {
    /// The principal.
    pub principal: Principal,
}
