//! Sessions: a node says that it lives, and learns what it may run.

use acp_base::Uid;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// A lease that the node believes to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct HeldLease {
    /// The system.
    pub system: Uid,
    /// With which term.
    pub term: u64,
}

/// See [`RenewSession`](super::RenewSession).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RenewSessionRequest {
    /// The hypervisor's restart counter.
    pub incarnation: u64,
    /// The leases that it has and needs; at most 10,000.
    pub held: Vec<HeldLease>,
    /// Systems that it wants to run; each is granted if nobody else has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<Uid>,
    /// Leases that it gives back: their systems do not run here any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<HeldLease>,
}

/// What is said of a system in [`RenewSessionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct LeaseAnswer {
    /// The system.
    pub system: Uid,
    /// The term under which the node may run it; absent: it may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Why not, in a sentence; empty if it may.
    #[serde(default)]
    pub reason: String,
}

/// See [`RenewSession`](super::RenewSession).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct RenewSessionReply {
    /// How long the session lives, in milliseconds; the node counts from when it sent the request, the hub from its answer.
    pub ttl_ms: u64,
    /// After how many of them the node pauses what it runs under a lease.
    pub pause_ms: u64,
    /// After how many of them the node kills it.
    pub kill_ms: u64,
    /// One for each system held or wanted.
    pub leases: Vec<LeaseAnswer>,
}
