//! Why a command is not carried out.

use std::net::SocketAddr;

use acp_base::{Code, Name, Uid};

use crate::limits::{
    KEYS_MAX, MEMBERS_MAX, METADATA_BYTES_MAX, METADATA_MAX, METADATA_TEXT_MAX, NODES_MAX, REQUESTS_MAX,
    ROLE_UNITS_MAX, ROLES_MAX, SYSTEMS_MAX, TOKENS_MAX,
};

/// Why a command is not carried out: the caller's fault each time, and nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Everything needs a cluster.
    #[error("there is no cluster here: make one, or ask a node that is in one")]
    NoCluster,
    /// Another cluster was made here.
    #[error("the cluster {name} was made here already")]
    Founded {
        /// Its name.
        name: Name,
    },
    /// No token has this secret.
    #[error(
        "the token is not known here: it was revoked, it ended a while ago, or it is of another cluster; ask for a new one"
    )]
    TokenUnknown,
    /// The token's time is over.
    #[error("the token's time is over: ask for a new one")]
    TokenExpired,
    /// The token has admitted as many nodes as it may.
    #[error("the token has admitted as many nodes as it may: ask for a new one")]
    TokenUsedUp,
    /// The node cannot be dialled there from elsewhere.
    #[error(
        "{address} is no address at which other nodes can dial this one: give one of its own addresses, with a port"
    )]
    Address {
        /// The address.
        address: SocketAddr,
    },
    /// A member has the name.
    #[error("a member is called {name} already: give this node another name, or remove the other one first")]
    NameTaken {
        /// The name.
        name: Name,
    },
    /// A member has the address.
    #[error(
        "the address {address} is of member {by} already: give this node another one, or remove the other one first"
    )]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// Who has it.
        by: Name,
    },
    /// A member has the id, with another key.
    #[error(
        "member {name} has this node's id {uid} already, and another key: this is a copy of that node, or it has lost its key; remove {name} first"
    )]
    IdTaken {
        /// The id.
        uid: Uid,
        /// Who has it.
        name: Name,
    },
    /// A member has the public key.
    #[error("member {by} has the same private key: this is a copy of that node; give this one a key of its own")]
    KeyTaken {
        /// Who has it.
        by: Name,
    },
    /// The node has joined, but not as this.
    #[error("this node is a member already, as {name} at {address}: ask for the same again, or remove {name} first")]
    JoinedAs {
        /// As what.
        name: Name,
        /// Where.
        address: SocketAddr,
    },
    /// The node was removed or has left.
    #[error("node {uid} was removed or has left, and comes back under its id by a token or a request of its own")]
    Gone {
        /// Its id.
        uid: Uid,
    },
    /// The node has another key than the one it had.
    #[error(
        "node {uid} had another key when it was a member, or its key is not remembered any more: let it join as a new node"
    )]
    OtherKey {
        /// Its id.
        uid: Uid,
    },
    /// A system of the cluster has the name of one that the node brings along.
    #[error(
        "the cluster has a system {name} already, and node {node} brings one along: rename or delete one of them first"
    )]
    SystemTaken {
        /// The system's name.
        name: Name,
        /// The node that would come.
        node: Name,
    },
    /// More systems than one node brings along.
    #[error("node {node} brings more than {SYSTEMS_MAX} systems along, the most there can be")]
    SystemsMany {
        /// The node.
        node: Name,
    },
    /// As many requests as there can be.
    #[error(
        "{REQUESTS_MAX} requests to join wait already, the most there can be: answer some, or let this node join with a token"
    )]
    RequestsFull,
    /// No request has the id.
    #[error("no request {uid} to join waits: it was answered, or its time is over; let the node ask again")]
    NoRequest {
        /// The id.
        uid: Uid,
    },
    /// Not a number of voters.
    #[error("{given} voters there cannot be: ask for 1, 3 or 5")]
    Voters {
        /// The number given.
        given: u32,
    },
    /// Not a public key.
    #[error("a checkpoint key is 64 hexadecimal digits, a to f in lower case")]
    CheckpointKey,
    /// Who runs the control plane is decided by the number of voters.
    #[error("the role {name} is given by the control plane itself: say how many voters there shall be instead")]
    RoleGiven {
        /// The role.
        name: Name,
    },
    /// As many roles as there can be.
    #[error("there are {ROLES_MAX} roles, the most there can be: empty one that is not needed first")]
    RolesFull,
    /// As many units as a role can have.
    #[error("the role {name} would have more than {ROLE_UNITS_MAX} units, the most there can be")]
    UnitsMany {
        /// The role.
        name: Name,
    },
    /// A value is both noted and forgotten.
    #[error("{key} cannot be set and unset at once: leave one of them out")]
    MetadataBoth {
        /// The value's name.
        key: Name,
    },
    /// A text is too long.
    #[error("{key} has {bytes} bytes, and a text of a node's metadata has at most {METADATA_TEXT_MAX}")]
    MetadataLong {
        /// The value's name.
        key: Name,
        /// Its length.
        bytes: usize,
    },
    /// A text holds what would steer a terminal.
    #[error("{key} holds a control character, which no text of a node's metadata may: leave it out")]
    MetadataControl {
        /// The value's name.
        key: Name,
    },
    /// As many values as a node can have.
    #[error("node {node} would have {given} values of metadata, and there can be {METADATA_MAX}: unset some")]
    MetadataMany {
        /// The node.
        node: Name,
        /// How many it would have.
        given: usize,
    },
    /// As much metadata as there can be.
    #[error(
        "the metadata of all nodes would have {bytes} bytes, and there can be {METADATA_BYTES_MAX}: unset some, or shorten texts"
    )]
    MetadataFull {
        /// How many it would have.
        bytes: usize,
    },
    /// As many members as there can be.
    #[error("the cluster has {MEMBERS_MAX} members, the most there can be")]
    MembersFull,
    /// As many members and removed nodes as there can be.
    #[error(
        "{NODES_MAX} nodes are members, or have been within the last days, the most there can be: wait until certificates of those gone have ended"
    )]
    NodesFull,
    /// No member has the name.
    #[error("no member is called {name}")]
    NoMember {
        /// The name.
        name: Name,
    },
    /// No member has the id.
    #[error("node {uid} is no member")]
    NoMemberOfId {
        /// The id.
        uid: Uid,
    },
    /// Somebody has to sign and to decide.
    #[error(
        "{name} is the only controller: without it nobody could join, leave or renew a certificate; let another node become one first"
    )]
    LastController {
        /// The controller.
        name: Name,
    },
    /// A number is out of its range.
    #[error("{what}: {given} is not within 1 to {max}")]
    Range {
        /// Of what.
        what: &'static str,
        /// The number given.
        given: u64,
        /// The most there can be.
        max: u64,
    },
    /// As many tokens as there can be.
    #[error("there are {TOKENS_MAX} tokens, the most there can be: revoke some")]
    TokensFull,
    /// No token has the id.
    #[error("there is no token {uid}: it has ended, or there never was one")]
    NoToken {
        /// The id.
        uid: Uid,
    },
    /// A key has the name.
    #[error("there is a key {name} already: revoke it first, or take another name")]
    KeyNameTaken {
        /// The name.
        name: Name,
    },
    /// Two keys with the same secret could not be told apart.
    #[error("the secret is the one of another key or token already: draw a new one")]
    SecretTaken,
    /// An id was drawn twice.
    #[error("the id {uid} is in use already: draw a new one")]
    UidTaken {
        /// The id.
        uid: Uid,
    },
    /// As many keys as there can be.
    #[error("there are {KEYS_MAX} keys, the most there can be: revoke some")]
    KeysFull,
    /// Methods of this scope are for those that they name.
    #[error("no key has the scope internal: the widest is admin")]
    ScopeInternal,
    /// No key has the name.
    #[error("there is no key {name:?}")]
    NoKey {
        /// The name.
        name: String,
    },
}

impl Rejection {
    /// What kind of failure it is for whoever asked.
    pub const fn code(&self) -> Code {
        match self {
            Self::NoCluster | Self::LastController { .. } | Self::Gone { .. } | Self::OtherKey { .. } => {
                Code::FailedPrecondition
            }
            Self::TokenUnknown | Self::TokenExpired | Self::TokenUsedUp => Code::PermissionDenied,
            Self::Address { .. }
            | Self::Range { .. }
            | Self::ScopeInternal
            | Self::Voters { .. }
            | Self::CheckpointKey
            | Self::RoleGiven { .. }
            | Self::MetadataBoth { .. }
            | Self::MetadataLong { .. }
            | Self::MetadataControl { .. } => Code::InvalidArgument,
            Self::Founded { .. }
            | Self::NameTaken { .. }
            | Self::AddressTaken { .. }
            | Self::IdTaken { .. }
            | Self::KeyTaken { .. }
            | Self::JoinedAs { .. }
            | Self::SystemTaken { .. }
            | Self::KeyNameTaken { .. }
            | Self::SecretTaken
            | Self::UidTaken { .. } => Code::AlreadyExists,
            Self::MembersFull
            | Self::NodesFull
            | Self::TokensFull
            | Self::KeysFull
            | Self::RequestsFull
            | Self::RolesFull
            | Self::UnitsMany { .. }
            | Self::SystemsMany { .. }
            | Self::MetadataMany { .. }
            | Self::MetadataFull { .. } => Code::ResourceExhausted,
            Self::NoMember { .. }
            | Self::NoMemberOfId { .. }
            | Self::NoToken { .. }
            | Self::NoRequest { .. }
            | Self::NoKey { .. } => Code::NotFound,
        }
    }

    /// The label under which refusals are counted.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoCluster => "no_cluster",
            Self::Founded { .. } => "founded",
            Self::TokenUnknown => "token_unknown",
            Self::TokenExpired => "token_expired",
            Self::TokenUsedUp => "token_used_up",
            Self::Address { .. } => "address",
            Self::NameTaken { .. } => "name_taken",
            Self::AddressTaken { .. } => "address_taken",
            Self::IdTaken { .. } => "id_taken",
            Self::KeyTaken { .. } => "key_taken",
            Self::JoinedAs { .. } => "joined_as",
            Self::Gone { .. } => "gone",
            Self::OtherKey { .. } => "other_key",
            Self::SystemTaken { .. } => "system_taken",
            Self::NoRequest { .. } => "no_request",
            Self::Voters { .. } => "voters",
            Self::CheckpointKey => "checkpoint_key",
            Self::RoleGiven { .. } => "role_given",
            Self::MetadataBoth { .. } | Self::MetadataLong { .. } | Self::MetadataControl { .. } => "metadata",
            Self::MembersFull
            | Self::NodesFull
            | Self::TokensFull
            | Self::KeysFull
            | Self::RequestsFull
            | Self::RolesFull
            | Self::UnitsMany { .. }
            | Self::SystemsMany { .. }
            | Self::MetadataMany { .. }
            | Self::MetadataFull { .. } => "full",
            Self::NoMember { .. } | Self::NoMemberOfId { .. } => "no_member",
            Self::LastController { .. } => "last_controller",
            Self::Range { .. } => "range",
            Self::NoToken { .. } => "no_token",
            Self::KeyNameTaken { .. } => "key_name_taken",
            Self::SecretTaken => "secret_taken",
            Self::UidTaken { .. } => "uid_taken",
            Self::ScopeInternal => "scope_internal",
            Self::NoKey { .. } => "no_key",
        }
    }
}
