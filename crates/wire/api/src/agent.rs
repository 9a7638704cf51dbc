//! `acp.agent`: this node among the others, and the way to them.

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::{
    Empty,
    hub::{Cluster, JoinPlan, Member},
    principal::Principal,
};

interface! {
    /// This node among the others, and the way to them.
    "acp.agent";
    /// Answers what this node is in which cluster, its certificate and its links.
    Once GetStatus(Empty) -> AgentStatus, Read, ["api", "cluster", "hub", "framework", "hypervisor", "network", "storage"];
    /// Makes this node the first of a new cluster.
    Once InitCluster(InitClusterRequest) -> Joined, Admin, [];
    /// Brings this node into the cluster that a member of it is asked for.
    Once JoinCluster(JoinClusterRequest) -> Joined, Admin, [];
    /// Says what [`JoinCluster`] would do, and changes nothing.
    Once PlanJoin(JoinClusterRequest) -> JoinPlan, Admin, [];
    /// Asks a member for membership without a token, and waits until an operator there has answered. The first reply says whose
    /// authority answers; whoever asks compares fingerprints.
    Stream RequestJoin(RequestJoinRequest) -> RequestJoinReply, Admin, [];
    /// Brings this node, which was removed, was restored from an old disk or has missed too much, back into its cluster with a
    /// new certificate, keeping its systems.
    Once Rejoin(JoinClusterRequest) -> Joined, Admin, [];
    /// Takes this node out of its cluster. Its systems, networks and volumes stay as they are.
    Once LeaveCluster(LeaveClusterRequest) -> Empty, Admin, [];
    /// Makes this connection a conversation with a service, on another node or on this one: what is sent after the reply
    /// reaches that service's socket, and what it answers comes back. Without a key the conversation has the rights of this
    /// node, which are few.
    Upgrade Open(OpenRequest) -> OpenReply, Read, ["api", "cluster", "hub", "framework", "hypervisor", "network", "storage"];
    /// Says whose a key is, without which it is refused.
    Once Authenticate(AuthenticateRequest) -> AuthenticateReply, Internal, ["api"];
    /// Lists the members as this node knows them, whether or not the control plane answers.
    Once ListMembers(Empty) -> ListMembersReply, Read, ["api", "cluster", "hub", "framework", "hypervisor", "network", "storage"];
    /// Answers what the cluster makes of this node, and again whenever that changes: how it is called, and which units its roles
    /// keep from it. Says nothing for as long as the cluster does not list it.
    Stream WatchNode(Empty) -> WatchNodeReply, Read, ["framework"];
    /// Makes this connection a stream for measuring: so many bytes are taken and so many sent after the reply.
    Upgrade Measure(MeasureRequest) -> Empty, Operate, [];
}

/// See [`GetStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AgentStatus {
    /// This node's id.
    pub node: Uid,
    /// Its name.
    pub name: Name,
    /// Its cluster; absent: it is on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Where it is dialled, as `IP:PORT`; absent while it is on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Until when its certificate counts, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_until_ms: Option<u64>,
    /// The revision of the directory that it has.
    pub revision: u64,
    /// How long ago the control plane was last heard, in milliseconds; absent: not since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_heard_ms: Option<u64>,
    /// Where root's key for other nodes lies on this node.
    pub root_key_path: String,
    /// The links that stand.
    pub links: Vec<LinkStatus>,
}

/// A link to another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkStatus {
    /// The other node's id.
    pub node: Uid,
    /// The other node's name.
    pub name: String,
    /// What it is for: `control`, `calls`, `reverse` or `bulk`.
    pub class: String,
    /// Whether this node has dialled.
    pub dialled: bool,
    /// Conversations on it now.
    pub conversations: u64,
    /// How long it has stood, in milliseconds.
    pub for_ms: u64,
}

/// See [`InitCluster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct InitClusterRequest {
    /// The cluster's name.
    pub name: Name,
    /// The address at which other nodes dial this one, as `IP` or `IP:PORT`; absent: the first one of the host that is
    /// neither loopback nor link-local.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The SHA-256 of a secret that root has made and keeps, in hexadecimal digits: it becomes the key `root@<node>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key_hash: Option<String>,
}

/// See [`JoinCluster`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct JoinClusterRequest {
    /// Where a member is dialled, as `IP` or `IP:PORT`.
    pub member: String,
    /// The token.
    pub token: String,
    /// As in [`InitClusterRequest`]; absent: the one from which the member is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// As in [`InitClusterRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key_hash: Option<String>,
}

impl std::fmt::Debug for JoinClusterRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinClusterRequest").field("member", &self.member).finish_non_exhaustive()
    }
}

/// See [`RequestJoin`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RequestJoinRequest {
    /// Where a member is dialled, as `IP` or `IP:PORT`.
    pub member: String,
    /// The SHA-256 of the authority's certificate in hexadecimal digits, if it is known: another one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// As in [`InitClusterRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// As in [`InitClusterRequest`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key_hash: Option<String>,
    /// How long to wait for an operator, in milliseconds; at most an hour.
    pub wait_ms: u64,
}

/// See [`RequestJoin`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct RequestJoinReply {
    /// Where it stands.
    pub outcome: crate::hub::JoinOutcome,
    /// The request's id, which the operator there sees, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Uid>,
    /// The SHA-256 of the authority's certificate that answered, in hexadecimal digits.
    pub authority: String,
    /// The SHA-256 of this node's public key in hexadecimal digits, which the operator there sees, too.
    pub fingerprint: String,
    /// With `admitted` and `already_joined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
}

/// See [`InitCluster`] and [`JoinCluster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Joined {
    /// The cluster.
    pub cluster: Cluster,
    /// This node in it.
    pub node: Member,
    /// Whether root's key was taken.
    pub root_key: bool,
}

/// See [`LeaveCluster`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct LeaveClusterRequest {
    /// Leave even if the control plane does not answer; it goes on listing the node until somebody removes it there.
    #[serde(default)]
    pub force: bool,
}

/// See [`Open`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct OpenRequest {
    /// The service, like `hypervisor`.
    pub service: String,
    /// Which instance, for a service that has several on a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The node by name; absent: this one, or for a service that the cluster has once, wherever that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// The secret of an API key, whose rights the conversation has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether the conversation carries much: it gets a connection of its own.
    #[serde(default)]
    pub bulk: bool,
}

impl std::fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRequest")
            .field("service", &self.service)
            .field("instance", &self.instance)
            .field("node", &self.node)
            .field("bulk", &self.bulk)
            .finish_non_exhaustive()
    }
}

/// See [`Open`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct OpenReply {
    /// The name of the node where the service is.
    pub node: String,
    /// Whether that is this node and the caller gave no key: nothing is carried, the caller goes to the socket itself.
    pub here: bool,
    /// The way there, in order.
    pub hops: Vec<Hop>,
}

/// A step on the way to a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Hop {
    /// The node's name.
    pub node: String,
    /// What was reached there, like `agent` or `hypervisor`.
    pub service: String,
    /// How: `socket`, `link` (one that stood), `dialled` (a new connection) or `relayed` (over the link that the node has
    /// opened to the control plane).
    pub how: String,
    /// How long that took, in microseconds.
    pub took_us: u64,
}

/// See [`Authenticate`].
#[derive(Clone, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct AuthenticateRequest {
    /// The key's secret.
    pub key: String,
}

impl std::fmt::Debug for AuthenticateRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthenticateRequest").finish_non_exhaustive()
    }
}

/// See [`Authenticate`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct AuthenticateReply {
    /// Whose it is.
    pub principal: Principal,
}

/// See [`ListMembers`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListMembersReply {
    /// The members in the order of their names; this node alone while it is in no cluster: then its address is empty.
    pub nodes: Vec<Member>,
    /// The directory's revision.
    pub revision: u64,
    /// `<number>-<id>` of the epoch that the directory is of; empty while the node is in no cluster.
    #[serde(default)]
    pub epoch: String,
    /// How long ago the control plane confirmed it, in milliseconds; absent: not since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// See [`WatchNode`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct WatchNodeReply {
    /// This node's id.
    pub node: Uid,
    /// Its name; while it is in no cluster, the one that it was started with.
    pub name: Name,
    /// The units that roles name, but none of this node's, in the order of their names. None while it is in no cluster.
    pub withheld: Vec<Name>,
}

/// See [`Measure`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct MeasureRequest {
    /// Bytes that the caller sends; they are read and thrown away. At most 1 TiB.
    pub send_bytes: u64,
    /// Bytes that the caller is sent once it has sent all of its own.
    pub receive_bytes: u64,
}
