//! `acp.hypervisor`: the systems of a node.

use acp_base::{ByteSize, Name, Uid};
use acp_wire_model::node::{NodeMeta, NodeStats};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::{Empty, jobs::Started};

interface! {
    /// The systems of a node. They are read as objects of kind `system`.
    "acp.hypervisor";
    /// Declares a system and starts the job that makes its disks. It is not started.
    Once CreateSystem(CreateSystemRequest) -> CreateSystemReply, Write, [];
    /// Sets the power intent to on and starts the job that gets it running.
    Once StartSystem(SystemRequest) -> Started, Operate, [];
    /// Sets the power intent to off and starts the job that ends it at once, as if the plug were pulled.
    Once StopSystem(SystemRequest) -> Started, Operate, [];
    /// Sets the power intent to off and starts the job that asks the guest to power off; what happens when it does not
    /// within the timeout is up to `force`.
    Once ShutdownSystem(ShutdownSystemRequest) -> Started, Operate, [];
    /// Resets the system's processors and devices, as the button would.
    Once ResetSystem(SystemRequest) -> Empty, Operate, [];
    /// Starts the job that removes a stopped system with its disks.
    Once DeleteSystem(SystemRequest) -> Started, Write, [];
    /// Answers what the node can do and how loaded it is.
    Once GetNode(Empty) -> GetNodeReply, Read, ["framework"];
}

/// See [`CreateSystem`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateSystemRequest {
    /// The system's name.
    pub name: Name,
    /// The image its first disk is a linked clone of; absent: an empty disk, which then needs a size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Name>,
    /// Virtual processors; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory in bytes; absent: 256 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<ByteSize>,
    /// Size of the first disk in bytes; absent: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<ByteSize>,
    /// The pool of the first disk; absent: the image's, or `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// Networks, one interface each; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Name>,
    /// Whether it is started when its node starts.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it may run on other nodes, too, and therefore only under a lease.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub floating: bool,
}

/// See [`CreateSystem`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct CreateSystemReply {
    /// The system's identity.
    pub uid: Uid,
    /// The index of the log entry.
    pub index: u64,
    /// The job that makes its disks.
    pub job: Uid,
}

/// Which system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct SystemRequest {
    /// The system.
    pub name: Name,
}

/// See [`ShutdownSystem`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ShutdownSystemRequest {
    /// The system.
    pub name: Name,
    /// How long the guest may take, in milliseconds; absent: 60,000; at most 3,600,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Whether the system is stopped when the time is over; else the job fails and the system runs on.
    #[serde(default)]
    pub force: bool,
}

/// See [`GetNode`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GetNodeReply {
    /// What the node can do.
    pub meta: NodeMeta,
    /// How loaded it is.
    pub stats: NodeStats,
}
