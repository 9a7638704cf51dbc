//! `acp.hub`: the control plane: one log, who is a member of the cluster, and who may do what.

mod datagrams;
mod metadata;
mod nodes;
mod quorum;
mod rings;
mod session;
mod view;

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::{Empty, Scope};

pub use datagrams::{SyncKey, SyncKeysReply, SyncKeysRequest};
pub use metadata::{MetaValue, Metadata, MetadataRequest};
pub use nodes::{
    DEFAULT_DOMAIN, DomainRequest, JoinAnswer, JoinAsked, JoinOutcome, ListRequestsReply, ListRolesReply, NodePlan,
    NodeRequest, ReaddressRequest, RejoinReply, RenameRequest, RequestJoinRequest, Role, RoleRequest, Verdict,
};
pub use quorum::{
    Backup as BackupReply, BackupRequest, FoundReply, FoundRequest, PrepareReply, PrepareRequest, Proposal,
    ProposeReply, ProposeRequest, Proposed, QuorumStatus, RaftRequest, ReadIndexReply, RecoverRequest, RestoreRequest,
    TransferRequest, UpgradePlan, VoterStatus, VotersRequest,
};
pub use rings::{Judgement, ReportRingRequest, RingState, RingStateKind, Standing};
pub use session::{HeldLease, LeaseAnswer, RenewSessionReply, RenewSessionRequest};
pub use view::{MetaCondition, NodeChange, NodeEvent, NodeFilter, NodePresence, WatchNodesReply};

interface! {
    /// The control plane: one log, who is a member of the cluster, and who may do what. It runs on the controllers; calls from
    /// every node reach one of them, and what changes anything reaches the leader.
    "acp.hub";
    /// Answers the cluster's name, its control plane and how many nodes are online.
    Once GetStatus(Empty) -> HubStatus, Read, ["agent", "cluster", "node"];
    /// Begins a log with this node as its only voter: empty, or with the state that the image holds. Refused where there is one.
    Once Found(FoundRequest) -> FoundReply, Internal, ["cluster"];
    /// Forgets this hub's part of the log and the authority's key: the node is in another cluster, or alone, from now on.
    Once Retire(Empty) -> Empty, Internal, ["cluster"];
    /// Has entries ordered, in one batch or several; answers what apply decided of each. Nodes propose for objects of their own
    /// only, controllers what they have authorised.
    Once Propose(ProposeRequest) -> ProposeReply, Internal, ["cluster", "node"];
    /// Answers an index that holds everything acknowledged before this call: a read at it is linearizable.
    Once ReadIndex(Empty) -> ReadIndexReply, Internal, ["cluster", "node"];
    /// Answers entries, or a snapshot and then entries, from where the replica stands, and goes on with new ones.
    Stream Follow(crate::cluster::FollowRequest) -> crate::cluster::FollowReply, Internal, ["cluster", "node"];
    /// Makes this hub ready to be a voter: it gets the authority's key, and answers its checkpoint key. For the leader alone.
    Once Prepare(PrepareRequest) -> PrepareReply, Internal, ["node"];
    /// Makes this connection a voter's: frames of the log's replication, each with its length in front (4 bytes, big endian).
    /// For controllers alone.
    Upgrade Raft(RaftRequest) -> Empty, Internal, ["node"];
    /// Answers the voters, the leader and how far each is.
    Once GetQuorum(Empty) -> QuorumStatus, Read, ["agent", "cluster", "node"];
    /// Gives the leadership to another voter.
    Once Transfer(TransferRequest) -> QuorumStatus, Admin, [];
    /// Says how many voters there shall be: 1, 3 or 5.
    Once SetVoters(VotersRequest) -> QuorumStatus, Admin, [];
    /// Says to which feature level the cluster can be raised and what stands against it; asks every member. Changes nothing.
    Once PlanUpgrade(Empty) -> UpgradePlan, Read, [];
    /// Raises the cluster's feature level to the newest one of the hub that answers. Refused while a member's programs are older:
    /// they cannot come back after it.
    Once Upgrade(Empty) -> UpgradePlan, Admin, [];
    /// Begins a new epoch with this node as the only voter, after the majority was lost for good. What the lost voters had
    /// acknowledged and this node does not have is lost.
    Once Recover(RecoverRequest) -> QuorumStatus, Admin, [];
    /// Answers everything that is needed to make this cluster anew elsewhere, the authority's key included.
    Once Backup(BackupRequest) -> BackupReply, Admin, [];
    /// Begins a new epoch from a backup, on a node that is in no cluster, or that orders the log of the backup's cluster alone.
    Once Restore(RestoreRequest) -> QuorumStatus, Admin, [];
    /// Renews the calling node's session, and with it its leases. For each node's hypervisor; held in the leader's memory.
    Once RenewSession(RenewSessionRequest) -> RenewSessionReply, Internal, ["hypervisor", "node"];
    /// Answers the keys with which the members seal datagrams to each other, and hears which of them the calling node has. For
    /// each node's cluster service, which asks again every few seconds; the leader holds them in memory.
    Once SyncKeys(SyncKeysRequest) -> SyncKeysReply, Internal, ["cluster", "node"];
    /// Hears what the calling node's failure detector holds of the others of its ring: at each change, and every few seconds.
    Once ReportRing(ReportRingRequest) -> Empty, Internal, ["cluster", "node"];
    /// Hears that the calling node lives, at the hub that it watches the directory at: at least twice a second.
    Once KeepAlive(Empty) -> Empty, Internal, ["agent", "node"];
    /// Asks for membership without a token; answers first that the request is known, at the end what an operator said.
    Stream RequestJoin(RequestJoinRequest) -> JoinAnswer, Internal, ["newcomer"];
    /// Lists the requests that wait for an answer.
    Once ListRequests(Empty) -> ListRequestsReply, Admin, [];
    /// Admits a node that has asked.
    Once Approve(TokenRequest) -> Empty, Admin, [];
    /// Turns a node away that has asked.
    Once Reject(TokenRequest) -> Empty, Admin, [];
    /// Gives a member another name, everywhere it is named.
    Once Rename(RenameRequest) -> Empty, Admin, [];
    /// Says where a member's agent is dialled from now on; the node itself may say so, too.
    Once Readdress(ReaddressRequest) -> Empty, Admin, ["agent", "node"];
    /// Says of which domain a member is: the nodes that hear each other's datagrams. What other domains say it hears by relays.
    Once AssignDomain(DomainRequest) -> Empty, Admin, [];
    /// Sets a member aside: it is expected to be away, holds up nothing and is no voter.
    Once Park(NodeRequest) -> Empty, Admin, [];
    /// Expects a member again.
    Once Unpark(NodeRequest) -> Empty, Admin, [];
    /// Says what removing a node would do, and changes nothing.
    Once PlanRemove(NodeRequest) -> NodePlan, Admin, [];
    /// Lists the roles.
    Once ListRoles(Empty) -> ListRolesReply, Read, [];
    /// Says which units a role stands for, and which nodes have it.
    Once SetRole(RoleRequest) -> Empty, Admin, [];
    /// Makes this node the first of a new cluster. Refused where there is one.
    Once InitCluster(InitClusterRequest) -> Admitted, Internal, ["agent"];
    /// Admits a node that has a token. The same node with the same key is admitted again, with the same answer.
    Once Join(JoinRequest) -> Admitted, Internal, ["newcomer"];
    /// Says what [`Join`] would answer, and changes nothing.
    Once PlanJoin(JoinRequest) -> JoinPlan, Internal, ["newcomer"];
    /// Signs a member's key anew. The key has to be the one it joined with.
    Once RenewCertificate(RenewCertificateRequest) -> Certified, Internal, ["agent", "node", "renewal"];
    /// Answers the directory, and then each newer one. A member is online while it watches.
    Stream WatchDirectory(WatchDirectoryRequest) -> WatchDirectoryReply, Internal, ["agent", "node"];
    /// Takes the calling node out of the cluster. The last controller cannot leave.
    Once Leave(Empty) -> Empty, Internal, ["agent", "node"];
    /// Notes values of a member under names, and forgets others.
    Once SetMetadata(MetadataRequest) -> Empty, Admin, [];
    /// Lists the members, or those for which the filter holds, with whether they are online.
    Once ListNodes(NodeFilter) -> ListNodesReply, Read, ["agent", "node"];
    /// Answers the members for which the filter holds as they are, and then what changes. Whoever reads slowly is told the newest
    /// state, and not each one between.
    Stream WatchNodes(NodeFilter) -> WatchNodesReply, Read, ["agent", "node"];
    /// Takes a member out of the cluster: its certificate counts no more anywhere.
    Once RemoveNode(NodeRequest) -> Empty, Admin, [];
    /// Makes a token with which nodes can join.
    Once CreateToken(CreateTokenRequest) -> CreateTokenReply, Admin, [];
    /// Lists the tokens that still count, without their secrets.
    Once ListTokens(Empty) -> ListTokensReply, Admin, [];
    /// Ends a token.
    Once RevokeToken(TokenRequest) -> Empty, Admin, [];
    /// Makes an API key. Its secret is in the answer and nowhere else.
    Once CreateKey(CreateKeyRequest) -> CreateKeyReply, Admin, [];
    /// Lists the API keys, without their secrets.
    Once ListKeys(Empty) -> ListKeysReply, Admin, [];
    /// Ends an API key, on every node as soon as it hears of it.
    Once RevokeKey(KeyRequest) -> Empty, Admin, [];
}

/// See [`GetStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HubStatus {
    /// The cluster; absent before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// The directory's number: it grows by one with every change.
    pub revision: u64,
    /// Members.
    pub nodes: u64,
    /// Members that watch the directory now.
    pub online: u64,
    /// Why nothing can be changed just now, in a sentence; empty when everything can.
    #[serde(default)]
    pub degraded: String,
    /// The leader's name; absent: none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Name>,
    /// How many voters there are.
    #[serde(default)]
    pub voters: u64,
}

/// A cluster as it is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cluster {
    /// Its id, part of every certificate.
    pub uid: Uid,
    /// Its name, for people.
    pub name: Name,
}

/// What every member knows of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct Directory {
    /// The cluster.
    pub cluster: Cluster,
    /// Grows by one with every change.
    pub revision: u64,
    /// The authority's certificate, DER in hexadecimal digits.
    pub authority: String,
    /// The members in the order of their names; at most 1,000.
    pub nodes: Vec<Member>,
    /// Nodes that were removed or have left, and whose certificates may not have expired yet.
    pub removed: Vec<Uid>,
    /// The API keys in the order of their names; at most 1,000.
    pub keys: Vec<Key>,
    /// `<number>-<id>` of the epoch; empty from versions before there were epochs.
    #[serde(default)]
    pub epoch: String,
    /// The roles in the order of their names.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Member {
    /// Its id, which its certificate names.
    pub uid: Uid,
    /// Its name, which no other has.
    pub name: Name,
    /// Where its agent is dialled, as `IP:PORT`.
    pub address: String,
    /// The SHA-256 of its public key in hexadecimal digits: renewal asks for the same key.
    pub fingerprint: String,
    /// Whether it runs the control plane.
    pub controller: bool,
    /// The public half of its checkpoint key, Ed25519 in hexadecimal digits; empty unless it is a controller.
    #[serde(default)]
    pub checkpoint_key: String,
    /// Whether it is set aside: it is expected to be away.
    #[serde(default)]
    pub parked: bool,
    /// Its domain: the nodes that hear each other's datagrams; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Name>,
    /// Its roles, in the order of their names.
    #[serde(default)]
    pub roles: Vec<Name>,
    /// What operators have noted of it.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// When it joined, in milliseconds since the Unix epoch.
    pub joined_ms: u64,
}

/// An API key as every member knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Key {
    /// Its id.
    pub uid: Uid,
    /// Its name, which no other has; `root@<node>` for the key of a node's root.
    pub name: String,
    /// The SHA-256 of its secret in hexadecimal digits.
    pub hash: String,
    /// The most that it may do: each scope has those before it (read, operate, write, admin).
    pub scope: Scope,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Until when it counts, in milliseconds since the Unix epoch; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
}

/// See [`InitCluster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct InitClusterRequest {
    /// The cluster's name.
    pub cluster: Name,
    /// This node.
    pub node: Newcomer,
}

/// A node as it presents itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Newcomer {
    /// Its id, made once and kept.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// Where its agent is dialled, as `IP:PORT`.
    pub address: String,
    /// The request to sign its key, PKCS #10 in DER in hexadecimal digits.
    pub signing_request: String,
    /// The SHA-256 of a secret that the node's root has made, in hexadecimal digits: it becomes the key `root@<name>` of
    /// scope admin, unless the token does not allow it. Absent: none is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key_hash: Option<String>,
    /// The names of its systems, which it will bring along: they must be free in the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<Name>,
}

/// See [`InitCluster`] and [`Join`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Admitted {
    /// The node's certificate, DER in hexadecimal digits.
    pub certificate: String,
    /// What the node needs to know.
    pub directory: Directory,
}

/// See [`Join`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The token's secret part.
    pub token: String,
    /// The node.
    pub node: Newcomer,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest").field("node", &self.node).finish_non_exhaustive()
    }
}

/// See [`PlanJoin`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct JoinPlan {
    /// The cluster that would be joined.
    pub cluster: Cluster,
    /// Its members.
    pub nodes: u64,
    /// What stands against it, a sentence each; empty: it can join.
    pub clashes: Vec<String>,
    /// Whether the node's root would get a key of scope admin.
    pub root_key: bool,
}

/// See [`RenewCertificate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RenewCertificateRequest {
    /// The request to sign its key, PKCS #10 in DER in hexadecimal digits.
    pub signing_request: String,
}

/// See [`RenewCertificate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Certified {
    /// The certificate, DER in hexadecimal digits.
    pub certificate: String,
}

/// See [`WatchDirectory`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct WatchDirectoryRequest {
    /// The revision that the caller has: it is not sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<u64>,
    /// The epoch of the directory that the caller has: in another one `known` says nothing, and the directory is sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

/// See [`WatchDirectory`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct WatchDirectoryReply {
    /// The directory; absent when nothing has changed: such a reply comes at least every 2 seconds and says that the hub
    /// is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Why this hub can change nothing just now, as in [`HubStatus`]: who hears it looks for another one. Empty when it can.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub degraded: String,
}

/// See [`ListNodes`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListNodesReply {
    /// The directory's revision.
    pub revision: u64,
    /// The members that were asked for, in the order of their names.
    pub nodes: Vec<NodePresence>,
    /// How old what it says of presence is, in milliseconds: 0 from the leader.
    #[serde(default)]
    pub age_ms: u64,
    /// Why nothing can be changed just now; empty when everything can.
    #[serde(default)]
    pub degraded: String,
}

/// See [`CreateToken`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateTokenRequest {
    /// How long it counts, in milliseconds; absent: an hour. At most 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
    /// How many nodes may join with it; absent: one. At most 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// Whether the root of a node that joins gets no key of scope admin.
    #[serde(default)]
    pub no_root_key: bool,
}

/// See [`CreateToken`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateTokenReply {
    /// The token without its secret.
    pub token: Token,
    /// What the newcomer is given: `acpt.<authority's fingerprint>.<secret>`, hexadecimal digits both.
    pub text: String,
}

impl std::fmt::Debug for CreateTokenReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateTokenReply").field("token", &self.token).finish_non_exhaustive()
    }
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Token {
    /// Its id.
    pub uid: Uid,
    /// Until when it counts, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How many nodes can still join with it.
    pub uses_left: u32,
    /// Whether the root of a node that joins gets no key of scope admin.
    pub no_root_key: bool,
}

/// See [`ListTokens`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListTokensReply {
    /// The tokens, oldest first.
    pub tokens: Vec<Token>,
}

/// See [`RevokeToken`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// The token's id.
    pub uid: Uid,
}

/// See [`CreateKey`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateKeyRequest {
    /// Its name.
    pub name: Name,
    /// The most that it may do: each scope has those before it (read, operate, write, admin).
    pub scope: Scope,
    /// How long it counts, in milliseconds; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
}

/// See [`CreateKey`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateKeyReply {
    /// The key without its secret.
    pub key: Key,
    /// The secret: `acpk.<hexadecimal digits>`.
    pub secret: String,
}

impl std::fmt::Debug for CreateKeyReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreateKeyReply").field("key", &self.key).finish_non_exhaustive()
    }
}

/// See [`ListKeys`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListKeysReply {
    /// The keys in the order of their names.
    pub keys: Vec<Key>,
}

/// See [`RevokeKey`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The key's name.
    pub name: String,
}
