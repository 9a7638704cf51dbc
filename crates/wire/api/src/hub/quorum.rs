//! The log and its voters.

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zlink::introspect::Type;

use crate::cluster::ControllerKey;

/// See [`Found`](super::Found).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct FoundRequest {
    /// This node's id.
    pub node: Uid,
    /// This node's name.
    pub name: Name,
    /// The state to begin with, encoded, in base64; absent: a new cluster, whose first entry names this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// See [`Found`](super::Found).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct FoundReply {
    /// The cluster.
    pub cluster: Uid,
    /// `<number>-<id>`.
    pub epoch: String,
    /// The controllers: this node.
    pub controllers: Vec<ControllerKey>,
}

/// An entry to be ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Who asked, as the entry will say.
    pub actor: String,
    /// The request that caused it; empty if none was given.
    pub request: String,
    /// What is to be done, as in `acp_wire_model::entry::Action`.
    pub action: Value,
}

/// See [`Propose`](super::Propose).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ProposeRequest {
    /// At most 512, and 1 MiB of them.
    pub entries: Vec<Proposal>,
}

/// What became of a proposal: `refused` is absent if it was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Proposed {
    /// The entry's index. 0: it was not ordered at all, because it is malformed or not the proposer's to propose.
    pub index: u64,
    /// The code of the refusal, like `NotFound`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why it was refused, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// See [`Propose`](super::Propose).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ProposeReply {
    /// One for each entry, in their order.
    pub outcomes: Vec<Proposed>,
}

/// See [`ReadIndex`](super::ReadIndex).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ReadIndexReply {
    /// The index of the log of entries.
    pub index: u64,
}

/// See [`Prepare`](super::Prepare).
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct PrepareRequest {
    /// The cluster.
    pub cluster: Uid,
    /// `<number>-<id>`.
    pub epoch: String,
    /// The id of the node that is prepared.
    pub node: Uid,
    /// The authority's certificate and private key, PEM. A secret.
    pub authority: String,
}

impl std::fmt::Debug for PrepareRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrepareRequest")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// See [`Prepare`](super::Prepare).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct PrepareReply {
    /// The public half of its checkpoint key, Ed25519 in hexadecimal digits.
    pub checkpoint_key: String,
}

/// See [`Raft`](super::Raft).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RaftRequest {
    /// The cluster: another one's frames are refused.
    pub cluster: Uid,
    /// `<number>-<id>`: another epoch's frames are refused.
    pub epoch: String,
}

/// See [`GetQuorum`](super::GetQuorum).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuorumStatus {
    /// Who answers this.
    pub node: Name,
    /// `<number>-<id>`.
    pub epoch: String,
    /// The election term.
    pub term: u64,
    /// The leader's name; absent: none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Name>,
    /// Why nothing can be changed just now; empty when everything can.
    pub degraded: String,
    /// The last index of the log of entries that this hub has applied.
    pub applied: u64,
    /// How many voters there shall be.
    pub wanted: u32,
    /// The voters and those that are about to be, in the order of their names.
    pub voters: Vec<VoterStatus>,
}

/// A voter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VoterStatus {
    /// The node's id.
    pub uid: Uid,
    /// The node's name.
    pub name: String,
    /// `leader`, `follower` or `learner`.
    pub role: String,
    /// How many entries of the voters' log it is behind; absent: not known, only the leader knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// How long ago the leader last heard it, in milliseconds; absent: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_ms: Option<u64>,
}

/// See [`Transfer`](super::Transfer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct TransferRequest {
    /// To which voter; absent: to the one that is least behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Name>,
}

/// See [`SetVoters`](super::SetVoters).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct VotersRequest {
    /// 1, 3 or 5.
    pub voters: u32,
}

/// See [`PlanUpgrade`](super::PlanUpgrade) and [`Upgrade`](super::Upgrade).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct UpgradePlan {
    /// The cluster's feature level.
    pub level: u32,
    /// The level to which the hub that answers raises it; the same if there is nothing to raise.
    pub to: u32,
    /// What stands against it, in a sentence each.
    pub clashes: Vec<String>,
    /// What comes with it, in a sentence each.
    pub effects: Vec<String>,
}

/// See [`Recover`](super::Recover).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// Says what would be lost and changes nothing.
    #[serde(default)]
    pub plan: bool,
}

/// See [`Backup`](super::Backup).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {}

/// See [`Backup`](super::Backup). A secret: whoever has it can make certificates of this cluster.
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
pub struct Backup {
    /// The layout of what follows.
    pub version: u32,
    /// The cluster.
    pub cluster: Uid,
    /// Its name; empty if it has none.
    pub name: String,
    /// Where the state stands.
    pub index: u64,
    /// The chain's hash there, 64 hexadecimal digits.
    pub hash: String,
    /// When the backup was made, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The state, encoded, in base64.
    pub image: String,
    /// The authority's certificate and private key, PEM; empty where no cluster was made.
    pub authority: String,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("cluster", &self.cluster).field("index", &self.index).finish_non_exhaustive()
    }
}

/// See [`Restore`](super::Restore).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// The backup.
    pub backup: Backup,
    /// Says what would be and changes nothing.
    #[serde(default)]
    pub plan: bool,
}
