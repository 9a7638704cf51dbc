//! Members: how they ask to come in, what they are called, where they are and what they do.

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use super::{Admitted, Newcomer};

/// What the control plane takes a member for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Verdict {
    /// It keeps a connection to a controller.
    Online,
    /// No controller hears it.
    #[default]
    Offline,
    /// It is set aside.
    Parked,
}

/// A member by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct NodeRequest {
    /// The node's name.
    pub name: Name,
}

/// See [`Rename`](super::Rename).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RenameRequest {
    /// The node's name.
    pub name: Name,
    /// Its name from now on.
    pub to: Name,
}

/// See [`Readdress`](super::Readdress).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct ReaddressRequest {
    /// The node's name; absent: the calling node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Where its agent is dialled, as `IP:PORT`.
    pub address: String,
}

/// The domain of members of which nothing else was said.
pub const DEFAULT_DOMAIN: &str = "default";

/// See [`AssignDomain`](super::AssignDomain).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct DomainRequest {
    /// The node's name.
    pub name: Name,
    /// Its domain from now on; `default` is the one of nodes of which nothing was said.
    pub domain: Name,
}

/// What a change of the members would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct NodePlan {
    /// What it would do, a sentence each.
    pub effects: Vec<String>,
    /// What stands against it, a sentence each; empty: it can be done.
    pub clashes: Vec<String>,
}

/// See [`RequestJoin`](super::RequestJoin).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RequestJoinRequest {
    /// The node.
    pub node: Newcomer,
    /// How long it waits for an answer, in milliseconds; at most an hour.
    pub wait_ms: u64,
}

/// What came of a request to join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum JoinOutcome {
    /// It waits for an operator.
    Waiting,
    /// It was approved: the node is a member.
    Admitted,
    /// The node was a member already, with the same key.
    AlreadyJoined,
    /// An operator has turned it away.
    Rejected,
    /// Nobody answered in time.
    Unanswered,
    /// The cluster takes no requests.
    Disabled,
}

/// See [`RequestJoin`](super::RequestJoin): one reply that it waits, one with what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct JoinAnswer {
    /// Where it stands.
    pub outcome: JoinOutcome,
    /// The request, as an operator approves or rejects it.
    pub request: Uid,
    /// With `admitted` and `already_joined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted: Option<Admitted>,
}

/// A request to join that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JoinAsked {
    /// The request.
    pub request: Uid,
    /// The node's id.
    pub node: Uid,
    /// The node's name.
    pub name: Name,
    /// Where it would be dialled.
    pub address: String,
    /// The SHA-256 of its public key in hexadecimal digits; the node shows the same to its operator.
    pub fingerprint: String,
    /// When it asked, in milliseconds since the Unix epoch.
    pub asked_ms: u64,
    /// Until when it waits, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// See [`ListRequests`](super::ListRequests).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListRequestsReply {
    /// The requests, oldest first; at most 64.
    pub requests: Vec<JoinAsked>,
}

/// What a node that asks to come back is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct RejoinReply {
    /// What the node needs.
    pub admitted: Admitted,
}

/// A set of units under a name; the nodes that have the role run them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Role {
    /// The name.
    pub name: Name,
    /// Its units, like `hypervisor`.
    pub units: Vec<Name>,
    /// The members that have it, by name.
    pub nodes: Vec<Name>,
}

/// See [`ListRoles`](super::ListRoles).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListRolesReply {
    /// The roles in the order of their names.
    pub roles: Vec<Role>,
}

/// See [`SetRole`](super::SetRole).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RoleRequest {
    /// The role.
    pub name: Name,
    /// Its units from now on; absent: as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<Name>>,
    /// The members that have it from now on, by name; absent: as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<Name>>,
}
