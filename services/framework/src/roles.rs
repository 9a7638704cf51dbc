//! Roles: which of the daemons that start with the framework this node runs.
//!
//! What the roles withhold is stopped in the order in which everything stops, its sockets are removed, and what was made for it
//! is forgotten; what they give back is started. Not taken away are: a daemon whose systems run here, until they do not; one that
//! a daemon requires which stays; and those by which the node learns its roles.
//!
//! **Invariant**: no guest ends because of a role.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Failure;
use acp_core_supervise::Input;

use crate::{
    catalog::{Edges, UnitName},
    error::chain,
    prepare,
    service::Service,
    template::Template,
    unit::Unit,
};

/// The daemon that says which roles the node has.
const TELLER: &str = "agent";

impl Service {
    /// Takes away what the node's roles withhold, and gives back what they do not.
    pub(crate) fn follow_roles(&mut self) {
        let (withheld, kept) = self.judge();
        let say =
            |(daemon, why): (String, String)| format!("{daemon} goes on although no role of this node names it: {why}");
        self.say_kept(kept.into_iter().map(say).collect());
        self.mark(&withheld);
        self.take_away();
        self.forget_owned();
        self.close_withheld();
    }

    /// The daemons that shall not run; and why others go on which the roles withhold.
    fn judge(&self) -> (BTreeSet<String>, BTreeMap<String, String>) {
        let mut kept = BTreeMap::new();
        if self.part.withheld().is_empty() {
            return (BTreeSet::new(), kept);
        }
        let catalog = &self.site.catalog;
        let is_named = |daemon: &&str| self.part.withheld().iter().any(|unit| unit.as_str() == *daemon);
        let (mut withheld, mut staying): (BTreeSet<&str>, BTreeSet<&str>) =
            catalog.boot().map(|(daemon, _template)| daemon).partition(is_named);
        let needed = catalog.needs(TELLER, Edges::All);
        for daemon in needed.into_iter().filter(|daemon| withheld.remove(daemon)) {
            kept.insert(daemon.to_owned(), "the node learns its roles by it".to_owned());
            staying.insert(daemon);
        }
        let occupied: Vec<(&str, usize)> = withheld.iter().map(|daemon| (*daemon, self.guests_of(daemon))).collect();
        for (daemon, guests) in occupied.into_iter().filter(|(_daemon, guests)| *guests > 0) {
            kept.insert(daemon.to_owned(), format!("units of systems that run: {guests}"));
            withheld.remove(daemon);
            staying.insert(daemon);
        }
        for daemon in staying {
            for needed in catalog.needs(daemon, Edges::Requires).into_iter().filter(|needed| withheld.remove(needed)) {
                kept.insert(needed.to_owned(), format!("{daemon} requires it"));
            }
        }
        (withheld.into_iter().map(str::to_owned).collect(), kept)
    }

    /// How many units of systems a daemon has made that are not gone.
    fn guests_of(&self, daemon: &str) -> usize {
        let is_guest = |unit: &&Unit| {
            unit.template.user == "system"
                && !unit.is_gone()
                && unit.template.owners.iter().any(|owner| owner == daemon)
        };
        self.units.values().filter(is_guest).count()
    }

    fn say_kept(&mut self, kept: Vec<String>) {
        if self.kept != kept {
            kept.iter().for_each(|reason| tracing::warn!(reason, "a daemon is not taken away"));
            self.kept = kept;
            self.say_health();
        }
    }

    pub(crate) fn say_health(&self) {
        let all: Vec<&str> = self.site.lacks.iter().chain(&self.kept).map(String::as_str).collect();
        self.health.degrade(all.join("; "));
    }

    /// Notes for each daemon whether it shall run, and starts those that shall again.
    fn mark(&mut self, withheld: &BTreeSet<String>) {
        let is_news =
            |unit: &&mut Unit| unit.template.boot && unit.is_withheld != withheld.contains(&unit.name.template);
        let mut given = Vec::new();
        for unit in self.units.values_mut().filter(is_news) {
            unit.is_withheld = !unit.is_withheld;
            unit.is_changed = true;
            tracing::info!(unit = %unit.name, is_withheld = unit.is_withheld, "the node's roles have changed");
            if !unit.is_withheld {
                given.push(unit.name.clone());
            }
        }
        for name in given {
            self.feed(&name, Input::Start);
        }
    }

    /// Asks those to stop that nothing which stops before them is left of.
    fn take_away(&mut self) {
        loop {
            let left: Vec<&Unit> =
                self.units.values().filter(|unit| !unit.is_gone() && self.goes_with_roles(unit)).collect();
            let stops_before =
                |unit: &Unit, other: &Unit| self.site.catalog.stops_before(&other.name.template, &unit.name.template);
            let may_stop = |unit: &&&Unit| !left.iter().any(|other| stops_before(unit, other));
            let wanted = left.iter().filter(|unit| unit.is_withheld && unit.machine.is_wanted());
            let next: Vec<UnitName> = wanted.filter(may_stop).map(|unit| unit.name.clone()).collect();
            if next.is_empty() {
                return;
            }
            for name in next {
                self.feed(&name, Input::Stop);
            }
        }
    }

    /// Whether a unit is withheld, or was made for daemons that are.
    fn goes_with_roles(&self, unit: &Unit) -> bool {
        unit.is_withheld || self.has_owners_that(&unit.template, |owner| owner.is_withheld)
    }

    /// Stops and forgets what was made for daemons that are gone. What of it is a guest's has kept its daemon from going.
    fn forget_owned(&mut self) {
        let is_owned =
            |unit: &&Unit| self.has_owners_that(&unit.template, |owner| owner.is_withheld && owner.is_gone());
        let owned: Vec<(UnitName, bool)> =
            self.units.values().filter(is_owned).map(|unit| (unit.name.clone(), unit.is_gone())).collect();
        for (name, is_gone) in owned {
            if is_gone {
                self.forget(&name);
            } else if self.units.get(&name).is_some_and(|unit| unit.machine.is_wanted()) {
                self.feed(&name, Input::Stop);
            }
        }
    }

    fn close_withheld(&mut self) {
        let is_open = |unit: &&mut Unit| unit.is_withheld && unit.is_gone() && !unit.listeners.is_empty();
        for unit in self.units.values_mut().filter(is_open) {
            if let Err(error) = prepare::close_listeners(&self.site, unit) {
                tracing::error!(unit = %unit.name, error = chain(&error), "a socket that nobody answers was not removed");
            }
        }
    }

    /// Refuses what would be made for daemons that are being taken away.
    pub(crate) fn check_roles(&self, template: &Template) -> Result<(), Failure> {
        match template.owners.first() {
            Some(owner) if self.has_owners_that(template, |owner| owner.is_withheld) => Err(withheld(owner)),
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a template has owners and this holds for all of them.
    fn has_owners_that(&self, template: &Template, holds: impl Fn(&Unit) -> bool) -> bool {
        let owner = |name: &String| self.units.get(&UnitName { template: name.clone(), instance: None });
        !template.owners.is_empty() && template.owners.iter().all(|name| owner(name).is_some_and(&holds))
    }
}

/// What is said to who asks for a unit that the roles withhold.
pub(crate) fn withheld(unit: impl std::fmt::Display) -> Failure {
    Failure::precondition(format!(
        "no role of this node names {unit}: see `acpctl role list`, and give it one with `acpctl role set`"
    ))
}
