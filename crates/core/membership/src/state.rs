//! What the cluster agrees on, and what is told of it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
};

use acp_base::{Name, Uid};
use acp_wire_api::{Scope, hub as api};
use serde::{Deserialize, Serialize};

use crate::{Digest, NewNode, Rejection, limits, roles};

/// What the cluster agrees on. Empty before there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub(crate) founded: Option<Founded>,
    pub(crate) revision: u64,
    #[serde(default)]
    pub(crate) changes: u64,
    pub(crate) members: BTreeMap<Uid, Member>,
    /// Nodes gone whose certificates may still count.
    pub(crate) removed: BTreeMap<Uid, Removed>,
    /// Ids of nodes gone for longer, the oldest first.
    pub(crate) retired: VecDeque<Uid>,
    pub(crate) tokens: BTreeMap<Uid, Token>,
    /// By name.
    pub(crate) keys: BTreeMap<String, Key>,
    /// Nodes that have asked to come in.
    #[serde(default)]
    pub(crate) requests: BTreeMap<Uid, Request>,
    /// The units of each role.
    #[serde(default = "roles::built_in")]
    pub(crate) roles: BTreeMap<Name, BTreeSet<Name>>,
    /// How many voters there shall be.
    #[serde(default = "voters_wanted")]
    pub(crate) voters_wanted: u32,
}

impl Default for State {
    fn default() -> Self {
        Self {
            founded: None,
            revision: 0,
            changes: 0,
            members: BTreeMap::new(),
            removed: BTreeMap::new(),
            retired: VecDeque::new(),
            tokens: BTreeMap::new(),
            keys: BTreeMap::new(),
            requests: BTreeMap::new(),
            roles: roles::built_in(),
            voters_wanted: voters_wanted(),
        }
    }
}

/// As many as are of use, unless somebody says otherwise.
const fn voters_wanted() -> u32 {
    limits::VOTERS_MAX
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
    /// The node that made it; absent where that was before requests to join: it is the one that came without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Uid>,
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
    /// The token that it joined with, by which a repeated request is known; absent for the first node and for those that an
    /// operator has let in.
    pub token: Option<Digest>,
    /// The public half of its checkpoint key in hexadecimal digits; empty: it has none, as whoever is no controller.
    #[serde(default)]
    pub checkpoint_key: String,
    /// Whether it is set aside.
    #[serde(default)]
    pub parked: bool,
    /// Its domain; absent: [`api::DEFAULT_DOMAIN`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Name>,
    /// Its roles.
    #[serde(default = "roles::of_newcomers")]
    pub roles: BTreeSet<Name>,
    /// What operators have noted of it.
    #[serde(default, skip_serializing_if = "api::Metadata::is_empty")]
    pub metadata: api::Metadata,
}

/// A node that has asked to come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The node.
    pub node: NewNode,
    /// When it asked, in milliseconds since the Unix epoch.
    pub asked_ms: u64,
    /// Until when it waits, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// A node that was removed or has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name, as long as it was a member.
    pub name: Name,
    /// After when no certificate of it counts any more, in milliseconds since the Unix epoch.
    pub until_ms: u64,
    /// The fingerprint of its public key, with which it may come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
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

impl Member {
    /// Of which domain it is.
    pub fn domain(&self) -> &str {
        self.domain.as_ref().map_or(api::DEFAULT_DOMAIN, Name::as_str)
    }
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

    /// How many changes there were, also of what the directory does not tell: tokens, requests, the number of voters.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// The members, by id.
    pub const fn members(&self) -> &BTreeMap<Uid, Member> {
        &self.members
    }

    /// The members that run the control plane.
    pub fn controllers(&self) -> impl Iterator<Item = (Uid, &Member)> {
        self.members.iter().filter(|(_, member)| member.controller).map(|(uid, member)| (*uid, member))
    }

    /// The member of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn member_named(&self, name: &Name) -> Result<Uid, Rejection> {
        let found = self.members.iter().find(|(_, member)| member.name == *name).map(|(uid, _)| *uid);
        found.ok_or_else(|| Rejection::NoMember { name: name.clone() })
    }

    /// How many voters there shall be.
    pub const fn voters_wanted(&self) -> u32 {
        self.voters_wanted
    }

    /// The requests to join, by id. One whose time is over waits for nothing any more.
    pub const fn requests(&self) -> &BTreeMap<Uid, Request> {
        &self.requests
    }

    /// The requests that wait, oldest first.
    pub fn waiting(&self, now_ms: u64) -> Vec<api::JoinAsked> {
        let mut waiting: Vec<_> = self.requests.iter().filter(|(_, request)| now_ms < request.until_ms).collect();
        waiting.sort_by_key(|(uid, request)| (request.asked_ms, **uid));
        waiting.into_iter().map(|(uid, request)| describe_request(*uid, request)).collect()
    }

    /// Says that the cluster is in another epoch from now on, which everybody is told with the directory.
    pub fn epoch_changed(&mut self) {
        self.revision += u64::from(self.founded.is_some());
        self.changes += u64::from(self.founded.is_some());
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

    /// What every member knows, but for the epoch, which whoever orders the log knows; absent before there is a cluster.
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
            epoch: String::new(),
            roles: self.described_roles(),
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
        let requests = self.requests.values().map(|request| request.until_ms);
        let keys = self.keys.values().filter_map(Key::shown_until_ms);
        tokens.chain(removed).chain(requests).chain(keys).min()
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
        checkpoint_key: member.checkpoint_key.clone(),
        parked: member.parked,
        domain: member.domain.clone(),
        roles: roles::shown(member),
        metadata: member.metadata.clone(),
        joined_ms: member.joined_ms,
    }
}

fn describe_request(uid: Uid, request: &Request) -> api::JoinAsked {
    api::JoinAsked {
        request: uid,
        node: request.node.uid,
        name: request.node.name.clone(),
        address: request.node.address.to_string(),
        fingerprint: request.node.key.to_string(),
        asked_ms: request.asked_ms,
        until_ms: request.until_ms,
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
