//! What can be asked of the membership, and what is answered.

use std::{collections::BTreeSet, net::SocketAddr};

use acp_base::{Name, Uid};
use acp_wire_api::{Scope, hub::Metadata};
use serde::{Deserialize, Serialize};

use crate::Digest;

/// A change that is asked for. Ids are new ones, drawn by whoever asks. As JSON it is what an entry of the log carries: a
/// command that does not read exactly, one with an unknown field included, is one of a newer version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Makes the cluster, with its first node, which runs the control plane. The same node asking for the same again is
    /// answered as before.
    Init {
        /// The cluster's id.
        cluster: Uid,
        /// Its name.
        name: Name,
        /// The authority's certificate, DER in hexadecimal digits.
        authority: String,
        /// The first node.
        node: NewNode,
    },
    /// Admits a node. A member with the key that it joined with is answered as before and uses no token up: by the token
    /// that it joined with, whatever has become of that, or by another one that counts.
    Join {
        /// The digest of the token's secret.
        token: Digest,
        /// The node.
        node: NewNode,
    },
    /// Keeps the request of a node that has no token, also of one that was a member and has its key still, until it is answered or its time is over. The same node asking again is
    /// given more time, under the id of its first request; a member with the key that it joined with is answered at once.
    Ask {
        /// The request's id.
        request: Uid,
        /// The node.
        node: NewNode,
        /// How long it waits, in milliseconds.
        wait_ms: u64,
    },
    /// Admits a node that has asked.
    Approve {
        /// The request.
        request: Uid,
    },
    /// Turns a node away that has asked.
    Reject {
        /// The request.
        request: Uid,
    },
    /// Takes a node back that was removed or has left, under its id and with its key, by a token that counts. A member that has
    /// lost its place is answered as in [`Command::Join`].
    Rejoin {
        /// The digest of the token's secret.
        token: Digest,
        /// The node.
        node: NewNode,
    },
    /// Gives a member another name, and its root's key with it.
    Rename {
        /// The member.
        node: Uid,
        /// Its name from now on.
        to: Name,
    },
    /// Says where a member is dialled from now on.
    Readdress {
        /// The member.
        node: Uid,
        /// Where.
        address: SocketAddr,
    },
    /// Says of which domain a member is from now on. Of level 2.
    AssignDomain {
        /// The member.
        node: Uid,
        /// The domain; [`DEFAULT_DOMAIN`](acp_wire_api::hub::DEFAULT_DOMAIN) is the one of those of whom nothing was said.
        domain: Name,
    },
    /// Sets a member aside.
    Park {
        /// The member.
        node: Uid,
    },
    /// Expects a member again.
    Unpark {
        /// The member.
        node: Uid,
    },
    /// Says whether a member runs the control plane.
    SetController {
        /// The member.
        node: Uid,
        /// The public half of its checkpoint key, Ed25519 in hexadecimal digits; absent: it is no controller from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint_key: Option<String>,
    },
    /// Says how many voters there shall be.
    SetVoters {
        /// 1, 3 or 5.
        wanted: u32,
    },
    /// Says what a role stands for and who has it. A role without units and nodes is forgotten, unless it is a built-in one.
    SetRole {
        /// The role.
        name: Name,
        /// Its units from now on; absent: as they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        units: Option<Vec<Name>>,
        /// The members that have it from now on, by name; absent: as they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nodes: Option<Vec<Name>>,
    },
    /// Notes values of a member under names, and forgets others.
    SetMetadata {
        /// The member.
        node: Uid,
        /// What is noted from now on.
        #[serde(default, skip_serializing_if = "Metadata::is_empty")]
        set: Metadata,
        /// The names of what is forgotten; those that are not there are so already.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        unset: BTreeSet<Name>,
    },
    /// A node goes.
    Leave {
        /// Its id.
        node: Uid,
    },
    /// A node is taken out.
    Remove {
        /// Its name.
        name: Name,
    },
    /// Makes a token.
    CreateToken(NewToken),
    /// Ends a token.
    RevokeToken {
        /// Its id.
        uid: Uid,
    },
    /// Makes an API key.
    CreateKey(NewKey),
    /// Ends an API key.
    RevokeKey {
        /// Its name.
        name: String,
    },
    /// Forgets what has ended by itself.
    Prune,
}

impl Command {
    /// The feature level that the log has to have for such a command: one of an earlier version would stall there.
    pub const fn level(&self) -> u32 {
        match self {
            Self::AssignDomain { .. } => 2,
            _ => 1,
        }
    }
}

/// A node that wants to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// Its id.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// Where its agent is dialled.
    pub address: SocketAddr,
    /// The fingerprint of its public key.
    pub key: Digest,
    /// The key that its root would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_key: Option<RootKey>,
    /// The names of its systems, which it brings along: whoever knows all systems refuses those that are taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<Name>,
}

/// The key of a node's root, on its way into the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    /// The key's id.
    pub uid: Uid,
    /// The digest of its secret.
    pub digest: Digest,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its id.
    pub uid: Uid,
    /// The digest of its secret.
    pub digest: Digest,
    /// How long it counts, in milliseconds.
    pub lifetime_ms: u64,
    /// How many nodes may join with it.
    pub uses: u32,
    /// Whether the root of a node that joins gets no key.
    pub no_root_key: bool,
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Its id.
    pub uid: Uid,
    /// Its name. One with an `@` cannot be asked for: those are of nodes' roots.
    pub name: Name,
    /// The digest of its secret.
    pub digest: Digest,
    /// The most that it may do.
    pub scope: Scope,
    /// How long it counts, in milliseconds; absent: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifetime_ms: Option<u64>,
}

/// What a command that was not rejected has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It changed the state.
    Changed,
    /// Everything is already as asked for.
    Unchanged,
}
