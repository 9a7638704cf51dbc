//! The typed entries of the log.

use acp_base::{EpochId, Name, Uid, WallTime};
use serde::{Deserialize, Serialize};

use crate::object::Kind;

/// One entry of the ordered log. Its hash is computed at apply: SHA-256 of the previous entry's hash and this entry's
/// canonical bytes (MessagePack with field names, fields in the order given here).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the log, from 1, without gaps.
    pub index: u64,
    /// The epoch in which it was ordered.
    pub epoch: EpochId,
    /// When the sequencer took it; for people, never compared.
    pub time: WallTime,
    /// Who asked: `root`, `<service>@<node>`, later a principal.
    pub actor: String,
    /// The request that caused it, as in the logs of every daemon; empty if none was given.
    #[serde(default)]
    pub request: String,
    /// What is to be done.
    pub action: Action,
}

/// What an entry does. A kind, once released, keeps its meaning; a replica that does not know a kind stalls there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Action {
    /// The first entry of a cluster: its id and its first node.
    Genesis {
        /// The cluster's identity.
        cluster: Uid,
        /// The first node's identity.
        node: Uid,
        /// The first node's name.
        node_name: Name,
    },
    /// A new declared object. Refused in apply if the name is taken; free fields (MAC, address) are filled in there.
    Create {
        /// The kind.
        kind: Kind,
        /// The name, unique within the kind.
        name: Name,
        /// The identity, drawn by the proposer.
        uid: Uid,
        /// The spec as in this kind's `...Spec`.
        spec: serde_json::Value,
    },
    /// A change of some fields of a spec: a JSON merge patch (RFC 7396); unknown fields are kept.
    Update {
        /// The kind.
        kind: Kind,
        /// Which object.
        uid: Uid,
        /// The fields to change.
        patch: serde_json::Value,
        /// Refused in apply unless the object's version is this one; absent: whatever it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        if_version: Option<u64>,
    },
    /// The end of an object; its uid stays behind as a tombstone.
    Delete {
        /// The kind.
        kind: Kind,
        /// Which object.
        uid: Uid,
    },
    /// A change of who is a member and who may do what: a command of the membership, decided in apply at the entry's time.
    /// A command that this version does not know stalls the replica.
    Membership {
        /// As in `acp_core_membership::Command`.
        command: serde_json::Value,
    },
    /// What becomes of the right to run a system. Renewals are no entries: they are sessions in the leader's memory.
    Lease {
        /// The system.
        system: Uid,
        /// What becomes of it.
        act: LeaseAct,
    },
    /// The log goes on in another epoch from the next entry on. Whoever has applied everything up to here crosses with it;
    /// whoever has applied anything else after the entry before this one begins anew.
    Horizon {
        /// The epoch that begins; its number is higher than the one that ends.
        epoch: EpochId,
        /// Why: `recover`, `restore` or `horizon`.
        reason: String,
    },
    /// From here on entries and formats of this level may occur. Refused in apply if it is not above the present one.
    FeatureLevel {
        /// The level.
        level: u32,
    },
    /// The leader takes a member for something else than before. Of level 2. Refused in apply if the log says so already, so that
    /// one change is told once, whoever leads.
    Verdict {
        /// The member.
        node: Uid,
        /// What it is taken for.
        standing: NodeStanding,
        /// Why, in a sentence.
        evidence: String,
        /// Changes since the last entry about this member that were left out, because there were too many.
        #[serde(default, skip_serializing_if = "is_zero")]
        unsaid: u32,
    },
}

impl Action {
    /// The feature level that the log has to have for such an entry: one of an earlier version would stall there.
    pub const fn level(&self) -> u32 {
        match self {
            Self::Verdict { .. } => 2,
            Self::Genesis { .. }
            | Self::Create { .. }
            | Self::Update { .. }
            | Self::Delete { .. }
            | Self::Membership { .. }
            | Self::Lease { .. }
            | Self::Horizon { .. }
            | Self::FeatureLevel { .. } => 1,
        }
    }
}

/// What a member is taken for, as the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeStanding {
    /// It has a session with the control plane; also a member of which the log says nothing.
    Online,
    /// It has a session and answers, but the other nodes do not reach it.
    Isolated,
    /// It lives, or its death is not proven, and it has no session.
    Unmanaged,
    /// It has neither a session nor contact with other nodes, and does not answer.
    Down,
}

impl NodeStanding {
    /// As it is written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Isolated => "isolated",
            Self::Unmanaged => "unmanaged",
            Self::Down => "down",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What becomes of the right to run a system. At most one node has it at any index; each grant has a term above all before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum LeaseAct {
    /// The node has it from now on. Refused in apply while another node has it.
    Grant {
        /// To which node.
        node: Uid,
    },
    /// Its holder gives it back. Refused in apply unless it has it with this term.
    Release {
        /// The holder.
        node: Uid,
        /// With which term.
        term: u64,
    },
    /// It is taken from its holder, whose session has ended and whose time is over.
    Revoke {
        /// The holder.
        node: Uid,
        /// With which term.
        term: u64,
    },
}

/// The newest level of entries and formats that this version writes and reads. 1: until verdicts were in the log; 2: with them and with domains.
pub const FEATURE_LEVEL: u32 = 2;
