//! Roles: sets of units under a name. The members that have a role run its units; a unit that no role names runs everywhere.
//!
//! Two are built in. `compute` stands for the hypervisor with what it needs, and every newcomer has it: who is without it runs no
//! systems and keeps its data. `controller` is given by the control plane to those that it chooses, and is only shown.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Name;
use acp_wire_api::hub as api;

use crate::{
    Member, Outcome, Rejection, State,
    limits::{ROLE_UNITS_MAX, ROLES_MAX},
};

/// The role of nodes that run systems.
pub const COMPUTE: &str = "compute";

/// The role of nodes that run the control plane.
pub const CONTROLLER: &str = "controller";

/// The units of [`COMPUTE`].
const COMPUTE_UNITS: [&str; 3] = ["hypervisor", "network", "storage"];

/// The roles of a new cluster with their units.
pub(crate) fn built_in() -> BTreeMap<Name, BTreeSet<Name>> {
    BTreeMap::from([(named(COMPUTE), COMPUTE_UNITS.into_iter().map(named).collect())])
}

/// The roles of a node that comes in.
pub(crate) fn of_newcomers() -> BTreeSet<Name> {
    BTreeSet::from([named(COMPUTE)])
}

/// A member's roles, also the one that the control plane gives.
pub(crate) fn shown(member: &Member) -> Vec<Name> {
    let given = member.controller.then(|| named(CONTROLLER));
    let roles: BTreeSet<Name> = member.roles.iter().cloned().chain(given).collect();
    roles.into_iter().collect()
}

fn named(text: &str) -> Name {
    text.parse().expect("the name of a built-in role or unit is a name")
}

/// Whether the member of this name runs a unit, by the roles of the directory.
pub fn runs(directory: &api::Directory, node: &Name, unit: &Name) -> bool {
    let mut naming = directory.roles.iter().filter(|role| role.units.contains(unit)).peekable();
    naming.peek().is_none() || naming.any(|role| role.nodes.contains(node))
}

impl State {
    pub(crate) fn set_role(
        &mut self,
        name: Name,
        units: Option<Vec<Name>>,
        nodes: Option<Vec<Name>>,
    ) -> Result<Outcome, Rejection> {
        self.cluster()?;
        if name.as_str() == CONTROLLER {
            return Err(Rejection::RoleGiven { name });
        }
        let (is_new, units) = (!self.roles.contains_key(&name), units.map(BTreeSet::from_iter));
        if is_new && self.roles.len() >= ROLES_MAX {
            return Err(Rejection::RolesFull);
        }
        if units.as_ref().is_some_and(|units| units.len() > ROLE_UNITS_MAX) {
            return Err(Rejection::UnitsMany { name });
        }
        let nodes = nodes.map(|nodes| nodes.iter().map(|node| self.member_named(node)).collect()).transpose()?;
        let before = self.directory();
        let of_role = self.roles.entry(name.clone()).or_default();
        *of_role = units.unwrap_or_else(|| std::mem::take(of_role));
        if let Some(nodes) = nodes {
            self.give(&name, &nodes);
        }
        self.forget_if_empty(&name);
        if self.directory() == before {
            return Ok(Outcome::Unchanged);
        }
        self.revision += 1;
        Ok(Outcome::Changed)
    }

    fn give(&mut self, role: &Name, nodes: &BTreeSet<acp_base::Uid>) {
        for (uid, member) in &mut self.members {
            if nodes.contains(uid) {
                member.roles.insert(role.clone());
            } else {
                member.roles.remove(role);
            }
        }
    }

    fn forget_if_empty(&mut self, role: &Name) {
        let is_empty = self.roles.get(role).is_some_and(BTreeSet::is_empty);
        if is_empty && role.as_str() != COMPUTE && !self.members.values().any(|member| member.roles.contains(role)) {
            self.roles.remove(role);
        }
    }

    /// The roles as everybody is told of them.
    pub(crate) fn described_roles(&self) -> Vec<api::Role> {
        let having = |role: &Name| {
            let members = self.members.values().filter(|member| shown(member).contains(role));
            members.map(|member| member.name.clone()).collect::<BTreeSet<Name>>().into_iter().collect()
        };
        let given = (named(CONTROLLER), BTreeSet::new());
        let mut roles: BTreeMap<Name, BTreeSet<Name>> = self.roles.clone();
        roles.extend([given]);
        let described = roles.into_iter();
        described
            .map(|(name, units)| api::Role { nodes: having(&name), units: units.into_iter().collect(), name })
            .collect()
    }
}
