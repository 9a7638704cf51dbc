//! How a replica follows the cluster's log, enters another one and goes on alone; and who runs what.

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// See [`Follow`](super::Follow) and `acp.hub.Follow`: where the replica stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct FollowRequest {
    /// The cluster.
    pub cluster: Uid,
    /// `<number>-<id>` of the epoch of the last entry applied.
    pub epoch: String,
    /// The last index applied; 0: none.
    pub index: u64,
    /// The chain's hash there, 64 hexadecimal digits.
    pub hash: String,
    /// Whether the log of another cluster is followed, too, from its state on, as a node on its own follows whichever log its hub
    /// was given. Written only then: an earlier version refuses a key that it does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_cluster: bool,
}

/// See [`Follow`](super::Follow). The first reply says whether a snapshot comes: then its pieces, then entries. At least one reply comes every
/// 2 seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct FollowReply {
    /// A piece of a snapshot that takes the place of everything the replica has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotPiece>,
    /// Entries in order, each as ordered, in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<String>,
    /// The newest position that a majority of the voters has applied, signed; nothing after it is sent to other nodes. It may lie
    /// after entries of this reply whose checkpoint has not been signed: the next one covers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// The last index that the source has.
    pub head: u64,
    /// Why the source's control plane orders nothing; empty when it does.
    #[serde(default)]
    pub degraded: String,
}

/// A piece of an encoded snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct SnapshotPiece {
    /// Where it stands.
    pub index: u64,
    /// Where the piece begins, in bytes.
    pub offset: u64,
    /// The bytes of the whole.
    pub total: u64,
    /// The piece in base64.
    pub bytes: String,
}

/// A position of the log that a controller vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Checkpoint {
    /// The cluster.
    pub cluster: Uid,
    /// `<number>-<id>`.
    pub epoch: String,
    /// The index.
    pub index: u64,
    /// The chain's hash there, 64 hexadecimal digits.
    pub hash: String,
    /// The controller that signs.
    pub signer: Uid,
    /// Ed25519 over `acp-checkpoint-1`, cluster, epoch, index and hash as they stand here, each followed by a newline; in
    /// hexadecimal digits.
    pub signature: String,
}

/// See [`Enter`](super::Enter).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct EnterRequest {
    /// The cluster.
    pub cluster: Uid,
    /// `<number>-<id>`: nothing older is believed.
    pub epoch: String,
    /// This node's id as a member.
    pub node: Uid,
    /// The controllers with what their checkpoints are verified by.
    pub controllers: Vec<ControllerKey>,
}

/// A controller with the public half of its checkpoint key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct ControllerKey {
    /// Its id.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// The Ed25519 public key in hexadecimal digits.
    pub key: String,
}

/// See [`Enter`](super::Enter) and [`Part`](super::Part).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct EnterReply {
    /// The index that the replica has now.
    pub index: u64,
    /// This node's objects that were taken along.
    pub taken: u64,
    /// Objects that could not be declared, a sentence each; their guests go on as orphans.
    pub orphans: Vec<String>,
}

/// See [`ListLeases`](super::ListLeases).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListLeasesReply {
    /// In the order of the systems' names.
    pub leases: Vec<Lease>,
    /// The index applied when they were read.
    pub index: u64,
}

/// The right to run a system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// The system.
    pub system: Uid,
    /// Its name.
    pub name: Name,
    /// Who has it; absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// The last term given.
    pub term: u64,
    /// The index of the entry that last changed it.
    pub index: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_follow_ones_own_cluster_is_asked_as_the_first_version_did() {
        let first = include_str!("../../corpus/requests/follow");
        let request: FollowRequest = serde_json::from_str(first).expect("what the first version wrote");
        assert_eq!(serde_json::to_string(&request).expect("plain"), first);
    }
}
