//! Whether a state is one that commands can have led to. Writes nothing.

use std::collections::BTreeSet;

use acp_wire_api::Scope;

use crate::{State, limits, members::is_key, root_key_name};

/// What is wrong with a state: it was damaged, or a defect of ours made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Inconsistency(&'static str);

impl State {
    /// Checks every invariant.
    ///
    /// # Errors
    /// The first one that does not hold.
    pub fn verify(&self) -> Result<(), Inconsistency> {
        let members = || self.members.values();
        let checks = [
            (self.founded.is_some() || *self == Self::default(), "something is there without a cluster"),
            (self.founded.is_none() || self.controllers().next().is_some(), "no member is a controller"),
            (unique(members().map(|member| &member.name)), "two members have one name"),
            (unique(members().map(|member| member.address)), "two members have one address"),
            (unique(members().map(|member| member.key)), "two members have one public key"),
            (!self.members.keys().any(|uid| self.is_gone(*uid)), "a member is among those gone"),
            (!self.removed.keys().any(|uid| self.retired.contains(uid)), "a node is gone twice"),
            (unique(self.retired.iter()), "a node is gone twice"),
            (unique(self.keys.values().map(|key| key.uid)), "two keys have one id"),
            (unique(self.secrets()), "two keys or tokens have one secret"),
            (self.keys.values().all(|key| key.scope != Scope::Internal), "a key has the scope internal"),
            (self.has_owners(), "a root's key is of no member"),
            (self.has_keys(), "a checkpoint key is none, or of no controller"),
            (self.has_roles(), "a member has a role that there is not"),
            ([1, 3, 5].contains(&self.voters_wanted), "there cannot be that many voters"),
            (self.is_bounded(), "a list is longer than it can be"),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(Inconsistency(what)),
            None => Ok(()),
        }
    }

    fn secrets(&self) -> impl Iterator<Item = crate::Digest> {
        let tokens = self.tokens.values().map(|token| token.digest);
        tokens.chain(self.keys.values().map(|key| key.digest))
    }

    /// Whether each key of a root is of a member.
    fn has_owners(&self) -> bool {
        let owners: BTreeSet<_> = self.members.values().map(|member| root_key_name(&member.name)).collect();
        self.keys.keys().all(|name| !name.contains('@') || owners.contains(name))
    }

    fn has_keys(&self) -> bool {
        let keys = || self.members.values().filter(|member| !member.checkpoint_key.is_empty());
        keys().all(|member| member.controller && is_key(&member.checkpoint_key))
    }

    fn has_roles(&self) -> bool {
        self.members.values().flat_map(|member| &member.roles).all(|role| self.roles.contains_key(role))
    }

    fn is_bounded(&self) -> bool {
        self.members.len() <= limits::MEMBERS_MAX
            && self.members.len() + self.removed.len() <= limits::NODES_MAX
            && self.retired.len() <= limits::RETIRED_MAX
            && self.keys.len() <= limits::KEYS_MAX
            && self.tokens.len() <= limits::TOKENS_MAX
            && self.requests.len() <= limits::REQUESTS_MAX
            && self.requests.values().all(|request| request.node.systems.len() <= limits::SYSTEMS_MAX)
            && self.roles.len() <= limits::ROLES_MAX
            && self.roles.values().all(|units| units.len() <= limits::ROLE_UNITS_MAX)
            && self.is_metadata_bounded()
    }
}

fn unique<T: Ord>(values: impl Iterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    values.into_iter().all(|value| seen.insert(value))
}
