//! What becomes of members: their names and places, whether they are expected, and who runs the control plane.

use std::net::SocketAddr;

use acp_base::{Name, Uid};
use acp_wire_api::hub::DEFAULT_DOMAIN;

use crate::{Member, Outcome, Rejection, State, admission::is_dialled, limits::VOTERS_MAX, root_key_name};

impl State {
    pub(crate) fn rename(&mut self, node: Uid, to: Name) -> Result<Outcome, Rejection> {
        let from = self.member(node)?.name.clone();
        if from == to {
            return Ok(Outcome::Unchanged);
        }
        if self.members.values().any(|member| member.name == to) {
            return Err(Rejection::NameTaken { name: to });
        }
        if let Some(key) = self.keys.remove(&root_key_name(&from)) {
            self.keys.insert(root_key_name(&to), key);
        }
        self.change(node, |member| member.name = to)
    }

    pub(crate) fn readdress(&mut self, node: Uid, address: SocketAddr) -> Result<Outcome, Rejection> {
        self.member(node)?;
        if !is_dialled(address) {
            return Err(Rejection::Address { address });
        }
        let other = self.members.iter().find(|(uid, member)| **uid != node && member.address == address);
        if let Some((_, other)) = other {
            return Err(Rejection::AddressTaken { address, by: other.name.clone() });
        }
        self.change(node, |member| member.address = address)
    }

    pub(crate) fn assign_domain(&mut self, node: Uid, domain: Name) -> Result<Outcome, Rejection> {
        self.member(node)?;
        let domain = Some(domain).filter(|domain| domain.as_str() != DEFAULT_DOMAIN);
        self.change(node, |member| member.domain = domain)
    }

    pub(crate) fn park(&mut self, node: Uid, parked: bool) -> Result<Outcome, Rejection> {
        self.member(node)?;
        if parked {
            self.spare(node)?;
        }
        self.change(node, |member| member.parked = parked)
    }

    pub(crate) fn set_controller(&mut self, node: Uid, checkpoint_key: Option<String>) -> Result<Outcome, Rejection> {
        self.member(node)?;
        match checkpoint_key {
            Some(key) if !is_key(&key) => Err(Rejection::CheckpointKey),
            Some(key) => self.change(node, |member| {
                member.controller = true;
                member.checkpoint_key = key;
            }),
            None => {
                self.spare(node)?;
                self.change(node, |member| {
                    member.controller = false;
                    member.checkpoint_key.clear();
                })
            }
        }
    }

    pub(crate) fn set_voters(&mut self, wanted: u32) -> Result<Outcome, Rejection> {
        self.cluster()?;
        if wanted > VOTERS_MAX || wanted.is_multiple_of(2) {
            return Err(Rejection::Voters { given: wanted });
        }
        let same = std::mem::replace(&mut self.voters_wanted, wanted) == wanted;
        Ok(if same { Outcome::Unchanged } else { Outcome::Changed })
    }

    /// Refuses what would leave the cluster without a controller.
    pub(crate) fn spare(&self, node: Uid) -> Result<(), Rejection> {
        if self.controllers().all(|(uid, _)| uid == node) {
            return Err(Rejection::LastController { name: self.member(node)?.name.clone() });
        }
        Ok(())
    }

    pub(crate) fn member(&self, node: Uid) -> Result<&Member, Rejection> {
        self.cluster()?;
        self.members.get(&node).ok_or(Rejection::NoMemberOfId { uid: node })
    }

    /// Changes a member; the directory is new if that made a difference.
    pub(crate) fn change(&mut self, node: Uid, how: impl FnOnce(&mut Member)) -> Result<Outcome, Rejection> {
        let member = self.members.get_mut(&node).ok_or(Rejection::NoMemberOfId { uid: node })?;
        let before = member.clone();
        how(member);
        if *member == before {
            return Ok(Outcome::Unchanged);
        }
        self.revision += 1;
        Ok(Outcome::Changed)
    }
}

/// Whether the text can be a public key of Ed25519.
pub(crate) fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}
