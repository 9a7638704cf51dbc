//! What can be asked of the membership, and what is answered.

use std::net::SocketAddr;

use acp_base::{Name, Uid};
use acp_wire_api::Scope;

use crate::Digest;

/// A change that is asked for. Ids are new ones, drawn by whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A node that wants to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub root_key: Option<RootKey>,
}

/// The key of a node's root, on its way into the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKey {
    /// The key's id.
    pub uid: Uid,
    /// The digest of its secret.
    pub digest: Digest,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
