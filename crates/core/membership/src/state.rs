//! What the cluster agrees on, and what is told of it.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use acp_base::{Name, Uid};
use acp_wire_api::{Scope, hub as api};
use serde::{Deserialize, Serialize};

use crate::{Digest, Rejection, limits};

/// What the cluster agrees on. Empty before there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) founded: Option<Founded>,
    pub(crate) revision: u64,
    pub(crate) members: BTreeMap<Uid, Member>,
    /// Nodes gone whose certificates may still count.
    pub(crate) removed: BTreeMap<Uid, Removed>,
    /// Ids of nodes gone for longer, the oldest first.
    pub(crate) retired: VecDeque<Uid>,
    pub(crate) tokens: BTreeMap<Uid, Token>,
    /// By name.
    pub(crate) keys: BTreeMap<String, Key>,
}

/// The cluster itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founded {
    /// Its id.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// The authority's certificate, DER in hexadecimal digits.
    pub authority: String,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: Name,
    /// Where its agent is dialled.
    pub address: SocketAddr,
    /// The fingerprint of its public key.
    pub key: Digest,
    /// Whether it runs the control plane.
    pub controller: bool,
    /// When it joined, in milliseconds since the Unix epoch.
    pub joined_ms: u64,
    /// The token that it joined with, by which a repeated request is known; absent for the first node.
    pub token: Option<Digest>,
}

/// A node that was removed or has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name, as long as it was a member.
    pub name: Name,
    /// After when no certificate of it counts any more, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The digest of its secret.
    pub digest: Digest,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Until when it counts, in milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// How many nodes can still join with it.
    pub uses_left: u32,
    /// Whether the root of a node that joins gets no key.
    pub no_root_key: bool,
}

impl Token {
    /// Whether nodes can join with it.
    pub const fn counts(&self, now_ms: u64) -> bool {
        now_ms < self.expires_ms && self.uses_left > 0
    }
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub uid: Uid,
    /// The digest of its secret.
    pub digest: Digest,
    /// The most that it may do.
    pub scope: Scope,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Until when it counts, in milliseconds since the Unix epoch; absent: until it is revoked.
    pub expires_ms: Option<u64>,
}

/// The name of the key of a node's root. No other key has an `@` in its name.
pub fn root_key_name(node: &Name) -> String {
    format!("root@{node}")
}

impl State {
    /// The cluster, if there is one.
    pub const fn founded(&self) -> Option<&Founded> {
        self.founded.as_ref()
    }

    /// The directory's number.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The members, by id.
    pub const fn members(&self) -> &BTreeMap<Uid, Member> {
        &self.members
    }

    /// The members that run the control plane.
    pub fn controllers(&self) -> impl Iterator<Item = (Uid, &Member)> {
        self.members.iter().filter(|(_, member)| member.controller).map(|(uid, member)| (*uid, member))
    }

    /// Whether the node was a member and is none any more.
    pub fn is_gone(&self, node: Uid) -> bool {
        self.removed.contains_key(&node) || self.retired.contains(&node)
    }

    pub(crate) fn cluster(&self) -> Result<&Founded, Rejection> {
        self.founded.as_ref().ok_or(Rejection::NoCluster)
    }

    pub(crate) fn has_secret(&self, digest: &Digest) -> bool {
        self.keys.values().any(|key| key.digest == *digest) || self.tokens.values().any(|token| token.digest == *digest)
    }

    /// What every member knows; absent before there is a cluster.
    pub fn directory(&self) -> Option<api::Directory> {
        let founded = self.founded.as_ref()?;
        let mut nodes: Vec<_> = self.members.iter().map(|(uid, member)| describe(*uid, member)).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Some(api::Directory {
            cluster: api::Cluster { uid: founded.uid, name: founded.name.clone() },
            revision: self.revision,
            authority: founded.authority.clone(),
            nodes,
            removed: self.removed.keys().copied().collect(),
            keys: self.keys.iter().map(|(name, key)| describe_key(name, key)).collect(),
        })
    }

    /// The tokens that count, oldest first.
    pub fn tokens(&self, now_ms: u64) -> Vec<api::Token> {
        let mut tokens: Vec<_> = self.tokens.iter().filter(|(_, token)| token.counts(now_ms)).collect();
        tokens.sort_by_key(|(uid, token)| (token.created_ms, **uid));
        tokens.into_iter().map(|(uid, token)| describe_token(*uid, token)).collect()
    }

    /// The token of this id, whether or not it counts.
    pub fn token(&self, uid: Uid) -> Option<api::Token> {
        self.tokens.get(&uid).map(|token| describe_token(uid, token))
    }

    /// When [`Command::Prune`](crate::Command::Prune) has something to do next, in milliseconds since the Unix epoch.
    pub fn next_prune_ms(&self) -> Option<u64> {
        let tokens = self.tokens.values().map(|token| token.expires_ms);
        let removed = self.removed.values().map(|removed| removed.until_ms);
        tokens.chain(removed).chain(self.keys.values().filter_map(Key::shown_until_ms)).min()
    }
}

impl Key {
    /// Until when it is listed.
    pub(crate) fn shown_until_ms(&self) -> Option<u64> {
        self.expires_ms.map(|expires_ms| expires_ms.saturating_add(limits::KEY_SHOWN_MS))
    }
}

fn describe(uid: Uid, member: &Member) -> api::Member {
    api::Member {
        uid,
        name: member.name.clone(),
        address: member.address.to_string(),
        fingerprint: member.key.to_string(),
        controller: member.controller,
        joined_ms: member.joined_ms,
    }
}

fn describe_key(name: &str, key: &Key) -> api::Key {
    api::Key {
        uid: key.uid,
        name: name.to_owned(),
        hash: key.digest.to_string(),
        scope: key.scope,
        created_ms: key.created_ms,
        expires_ms: key.expires_ms,
    }
}

fn describe_token(uid: Uid, token: &Token) -> api::Token {
    api::Token { uid, expires_ms: token.expires_ms, uses_left: token.uses_left, no_root_key: token.no_root_key }
}
