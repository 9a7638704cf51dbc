//! How nodes come in: the first one, and those that have a token.

use std::net::SocketAddr;

use acp_base::{Name, Uid};
use acp_wire_api::{Scope, hub::Metadata};

use crate::{
    Digest, Key, Member, NewNode, Outcome, Rejection, RootKey, State, Token,
    limits::{KEYS_MAX, MEMBERS_MAX, NODES_MAX, SYSTEMS_MAX},
    roles, root_key_name,
    state::Founded,
};

/// What joining would do. What stands against it in order; the first one is what joining is rejected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether the node is a member already, and asks again.
    pub again: bool,
    /// Whether the node's root would have a key.
    pub root_key: bool,
    /// What stands against it.
    pub clashes: Vec<Rejection>,
}

impl State {
    /// Says what joining would do, and changes nothing.
    ///
    /// # Errors
    /// Who has no good token is told nothing else.
    pub fn plan_join(&self, token: &Digest, node: &NewNode, now_ms: u64) -> Result<Plan, Rejection> {
        self.cluster()?;
        let member = self.member_again(node);
        if let Some(member) = member.filter(|member| member.token == Some(*token)) {
            return Ok(self.plan_again(member, node));
        }
        let known = self.good_token(token, now_ms)?;
        if let Some(member) = member {
            return Ok(self.plan_again(member, node));
        }
        let root_key = node.root_key.filter(|_| !known.no_root_key);
        Ok(Plan { again: false, root_key: root_key.is_some(), clashes: self.clashes(node, root_key) })
    }

    /// The member that this node is already, by its id and its key.
    pub(crate) fn member_again(&self, node: &NewNode) -> Option<&Member> {
        self.members.get(&node.uid).filter(|member| member.key == node.key)
    }

    /// The token of this secret, if it counts.
    pub(crate) fn good_token(&self, token: &Digest, now_ms: u64) -> Result<&Token, Rejection> {
        let known = self.tokens.values().find(|known| known.digest == *token).ok_or(Rejection::TokenUnknown)?;
        if now_ms >= known.expires_ms {
            return Err(Rejection::TokenExpired);
        }
        if known.uses_left == 0 {
            return Err(Rejection::TokenUsedUp);
        }
        Ok(known)
    }

    /// A token that counts admits one node.
    pub(crate) fn use_token(&mut self, token: &Digest) {
        if let Some(known) = self.tokens.values_mut().find(|known| known.digest == *token) {
            known.uses_left -= 1;
        }
    }

    /// A node that asks again for what it was given: the answer was lost, or it was interrupted.
    pub(crate) fn plan_again(&self, member: &Member, node: &NewNode) -> Plan {
        let mut clashes = Vec::new();
        if (&member.name, member.address) != (&node.name, node.address) {
            clashes.push(Rejection::JoinedAs { name: member.name.clone(), address: member.address });
        }
        let renewed = self.keys.get(&root_key_name(&member.name)).zip(node.root_key);
        if let Some((key, wanted)) = renewed
            && key.digest != wanted.digest
            && self.has_secret(&wanted.digest)
        {
            clashes.push(Rejection::SecretTaken);
        }
        Plan { again: true, root_key: renewed.is_some(), clashes }
    }

    pub(crate) fn clashes(&self, node: &NewNode, root_key: Option<RootKey>) -> Vec<Rejection> {
        let gone = self.is_gone(node.uid).then_some(Rejection::Gone { uid: node.uid });
        gone.into_iter().chain(self.clashes_but_gone(node, root_key)).collect()
    }

    /// What stands against a node, but for whether it has been a member before.
    pub(crate) fn clashes_but_gone(&self, node: &NewNode, root_key: Option<RootKey>) -> Vec<Rejection> {
        let mut clashes = Vec::new();
        if !is_dialled(node.address) {
            clashes.push(Rejection::Address { address: node.address });
        }
        if node.systems.len() > SYSTEMS_MAX {
            clashes.push(Rejection::SystemsMany { node: node.name.clone() });
        }
        for (uid, member) in &self.members {
            clashes.extend(clash(*uid, member, node));
        }
        if self.members.len() >= MEMBERS_MAX {
            clashes.push(Rejection::MembersFull);
        }
        if self.members.len() + self.removed.len() >= NODES_MAX && !self.removed.contains_key(&node.uid) {
            clashes.push(Rejection::NodesFull);
        }
        if let Some(root_key) = root_key {
            clashes.extend(self.key_clash(root_key.uid, &root_key.digest));
        }
        clashes
    }

    /// What stands against one more key, its name aside.
    pub(crate) fn key_clash(&self, uid: Uid, digest: &Digest) -> Option<Rejection> {
        if self.keys.len() >= KEYS_MAX {
            return Some(Rejection::KeysFull);
        }
        if self.has_secret(digest) {
            return Some(Rejection::SecretTaken);
        }
        self.keys.values().any(|key| key.uid == uid).then_some(Rejection::UidTaken { uid })
    }

    pub(crate) fn join(&mut self, token: &Digest, node: NewNode, now_ms: u64) -> Result<Outcome, Rejection> {
        let plan = self.plan_join(token, &node, now_ms)?;
        if let Some(clash) = plan.clashes.into_iter().next() {
            return Err(clash);
        }
        if plan.again {
            return Ok(self.renew_root_key(&node));
        }
        self.use_token(token);
        let root_key = node.root_key.filter(|_| plan.root_key);
        self.admit(NewNode { root_key, ..node }, Some(*token), now_ms);
        Ok(Outcome::Changed)
    }

    pub(crate) fn init(&mut self, founded: Founded, node: NewNode, now_ms: u64) -> Result<Outcome, Rejection> {
        if let Some(known) = &self.founded {
            return self.init_again(&known.name.clone(), &founded.name, node);
        }
        if !is_dialled(node.address) {
            return Err(Rejection::Address { address: node.address });
        }
        self.founded = Some(founded);
        let first = node.uid;
        self.admit(node, None, now_ms);
        self.members.entry(first).and_modify(|member| member.controller = true);
        Ok(Outcome::Changed)
    }

    /// The node that has made the cluster asks again for the same, because the answer was lost or it was interrupted.
    fn init_again(&mut self, known: &Name, asked: &Name, node: NewNode) -> Result<Outcome, Rejection> {
        let made_by = self.founded.as_ref().and_then(|founded| founded.first);
        let is_first = |member: &&Member| made_by.map_or(member.token.is_none(), |first| first == node.uid);
        let first = self.member_again(&node).filter(is_first);
        let Some(member) = first.filter(|_| known == asked) else {
            return Err(Rejection::Founded { name: known.clone() });
        };
        if let Some(clash) = self.plan_again(member, &node).clashes.into_iter().next() {
            return Err(clash);
        }
        Ok(self.renew_root_key(&node))
    }

    /// Every check has passed.
    pub(crate) fn admit(&mut self, node: NewNode, token: Option<Digest>, now_ms: u64) {
        if let Some(root_key) = node.root_key {
            let key = Key {
                uid: root_key.uid,
                digest: root_key.digest,
                scope: Scope::Admin,
                created_ms: now_ms,
                expires_ms: None,
            };
            self.keys.insert(root_key_name(&node.name), key);
        }
        let (name, address, key) = (node.name, node.address, node.key);
        let member = Member {
            name,
            address,
            key,
            controller: false,
            joined_ms: now_ms,
            token,
            checkpoint_key: String::new(),
            parked: false,
            domain: None,
            roles: roles::of_newcomers(),
            metadata: Metadata::default(),
        };
        self.members.insert(node.uid, member);
        self.revision += 1;
    }

    /// A node's root that asks again may have lost its secret and made another one. A key that was revoked stays so.
    pub(crate) fn renew_root_key(&mut self, node: &NewNode) -> Outcome {
        let key = self.keys.get_mut(&root_key_name(&node.name)).zip(node.root_key);
        match key {
            Some((key, wanted)) if key.digest != wanted.digest => {
                key.digest = wanted.digest;
                self.revision += 1;
                Outcome::Changed
            }
            _ => Outcome::Unchanged,
        }
    }
}

/// What a member has that the node wants. A node whose id is a member's is told that alone.
fn clash(uid: Uid, member: &Member, node: &NewNode) -> Vec<Rejection> {
    let by = || member.name.clone();
    if uid == node.uid {
        return vec![Rejection::IdTaken { uid, name: by() }];
    }
    let name = (member.name == node.name).then(|| Rejection::NameTaken { name: by() });
    let address = (member.address == node.address).then(|| Rejection::AddressTaken { address: node.address, by: by() });
    let key = (member.key == node.key).then(|| Rejection::KeyTaken { by: by() });
    name.into_iter().chain(address).chain(key).collect()
}

/// Whether other nodes can dial it: an address of one host, that means the same on each of them.
pub(crate) fn is_dialled(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_link_local = match address {
        SocketAddr::V4(_) => false,
        SocketAddr::V6(address) => address.ip().is_unicast_link_local() || address.scope_id() != 0,
    };
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local
}
