//! Who may run a floating system.
//!
//! **Invariant**: at any index at most one node has the right to run a system, and no term is given twice. That a holder is not
//! heard any more is for the leader to know; here its right ends only by an entry.

use std::collections::BTreeMap;

use acp_base::{Code, Uid};
use acp_wire_model::{Kind, entry::LeaseAct};

use super::{Done, Record, State};
use crate::{refusal::Refusal, spec::Spec};

/// What the log says of the right to run a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeaseRecord {
    /// The node that has it; none: nobody.
    pub holder: Option<Uid>,
    /// The last term given. Terms grow over the whole log, whatever the system.
    pub term: u64,
    /// The index of the entry that last changed it.
    pub index: u64,
}

impl State {
    /// What the log says of the right to run this system; none if it was never given.
    pub fn lease(&self, system: Uid) -> Option<LeaseRecord> {
        self.leases.get(&system).copied()
    }

    /// What the log says of every system whose right was ever given, by the systems' identities.
    pub const fn leases(&self) -> &BTreeMap<Uid, LeaseRecord> {
        &self.leases
    }

    pub(super) fn lease_act(&mut self, system: Uid, act: &LeaseAct) -> Result<Done, Refusal> {
        match *act {
            LeaseAct::Grant { node } => self.grant(system, node),
            LeaseAct::Release { node, term } | LeaseAct::Revoke { node, term } => self.end_lease(system, node, term),
        }
    }

    fn grant(&mut self, system: Uid, node: Uid) -> Result<Done, Refusal> {
        let record = self.get(system).filter(|record| record.kind == Kind::System);
        let record = record.ok_or_else(|| Refusal::new(Code::NotFound, format!("no system with the uid {system}")))?;
        let Spec::System(spec) = &record.spec else {
            return Err(Refusal::new(Code::NotFound, format!("no system with the uid {system}")));
        };
        let name = record.name.as_str();
        if !spec.floating {
            return Err(Refusal::precondition(format!(
                "system {name:?} is pinned to node {}: it is run without a lease",
                spec.node
            )));
        }
        let member = self.node_of(node)?;
        if member.name != spec.node {
            let (on, asks) = (&spec.node, &member.name);
            return Err(Refusal::precondition(format!("system {name:?} is on node {on}: node {asks} cannot run it")));
        }
        if let Some(holder) = self.lease(system).and_then(|lease| lease.holder).filter(|holder| *holder != node) {
            let holder = self.describe(holder);
            return Err(Refusal::new(Code::Conflict, format!("{holder} has the lease of system {name:?}")));
        }
        self.last_term += 1;
        let lease = LeaseRecord { holder: Some(node), term: self.last_term, index: self.index };
        self.leases.insert(system, lease);
        Ok(Done::none())
    }

    fn end_lease(&mut self, system: Uid, node: Uid, term: u64) -> Result<Done, Refusal> {
        let Some(lease) = self.leases.get(&system).filter(|lease| (lease.holder, lease.term) == (Some(node), term))
        else {
            let (holder, system) = (self.describe(node), self.describe(system));
            return Err(Refusal::new(
                Code::Conflict,
                format!("{holder} does not have the lease of {system} with term {term}"),
            ));
        };
        let lease = LeaseRecord { holder: None, term: lease.term, index: self.index };
        self.leases.insert(system, lease);
        Ok(Done::none())
    }

    /// The object of a node that is part of this cluster.
    pub(super) fn node_of(&self, node: Uid) -> Result<&Record, Refusal> {
        let found = self.get(node).filter(|record| record.kind == Kind::Node);
        found.map(AsRef::as_ref).ok_or_else(|| Refusal::new(Code::NotFound, format!("no node with the uid {node}")))
    }

    /// Whether each right is of a system that is there, and each holder a node.
    pub(super) fn leases_are_of_systems(&self) -> Result<(), String> {
        for (system, lease) in &self.leases {
            if self.get(*system).is_none_or(|record| record.kind != Kind::System) {
                return Err(format!("the lease of {system} is of no system"));
            }
            if lease.holder.is_some_and(|holder| self.node_of(holder).is_err()) || lease.term > self.last_term {
                return Err(format!("the lease of {system} was given to nobody who could have it"));
            }
        }
        Ok(())
    }
}
