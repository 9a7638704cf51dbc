//! Whose turn it is: which units may start, and which may stop when everything does.

use acp_core_supervise::Input;
use acp_wire_model::unit::UnitState;

use crate::{
    catalog::UnitName,
    service::Service,
    unit::{Unit, Wait},
};

impl Service {
    /// Starts units whose requirements are met.
    pub(crate) fn start_ready(&mut self) {
        let waiting = |unit: &&Unit| unit.machine.state() == UnitState::Waiting;
        let names: Vec<UnitName> = self.units.values().filter(waiting).map(|unit| unit.name.clone()).collect();
        for name in names {
            let blocker = self.blocker(&name);
            let is_free = blocker.is_none();
            if let Some(unit) = self.units.get_mut(&name)
                && unit.waits_for != blocker
            {
                unit.waits_for = blocker;
                unit.is_changed = true;
            }
            if is_free {
                self.feed(&name, Input::DependenciesReady);
            }
        }
    }

    /// The first unit that this one has to wait for.
    fn blocker(&self, name: &UnitName) -> Option<Wait> {
        let unit = self.units.get(name)?;
        let state = |needed: &String| {
            let needed = UnitName { template: needed.clone(), instance: None };
            self.units.get(&needed).map(|unit| unit.machine.state())
        };
        let is_coming = |needed: &&String| matches!(state(needed), Some(UnitState::Waiting | UnitState::Starting));
        if let Some(earlier) = unit.template.after.iter().find(is_coming) {
            return Some(Wait { text: format!("waits for {earlier}"), is_vain: false });
        }
        let needed = unit.template.requires.iter().find(|needed| state(needed) != Some(UnitState::Ready))?;
        Some(match state(needed) {
            Some(UnitState::Failed) => Wait { text: format!("waits for {needed}, which has failed"), is_vain: true },
            Some(UnitState::Stopped) | None => {
                Wait { text: format!("waits for {needed}, which is stopped"), is_vain: true }
            }
            Some(_) => Wait { text: format!("waits for {needed}"), is_vain: false },
        })
    }

    /// Asks those units to stop that nothing which stops before them is left of. One without a process is gone at once, and
    /// nothing more is heard of it: those after it have their turn now.
    pub(crate) fn stop_next(&mut self) {
        loop {
            let next = self.next_to_stop();
            if next.is_empty() {
                return;
            }
            for name in next {
                self.feed(&name, Input::Stop);
            }
        }
    }

    /// Units that may stop now and have not been asked to.
    fn next_to_stop(&self) -> Vec<UnitName> {
        let left: Vec<&Unit> = self.units.values().filter(|unit| !unit.is_gone()).collect();
        let may_stop = |unit: &&&Unit| {
            let stops_before =
                |other: &&Unit| self.site.catalog.stops_before(&other.name.template, &unit.name.template);
            !left.iter().any(stops_before)
        };
        let next = left.iter().filter(may_stop).filter(|unit| unit.machine.is_wanted());
        next.map(|unit| unit.name.clone()).collect()
    }
}
