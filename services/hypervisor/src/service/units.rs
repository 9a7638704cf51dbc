//! What the framework says of units, brought to the machines.
//!
//! **Invariant**: a unit that ought to be there is believed gone only after the framework was asked again, and events of an
//! earlier unit of the same name are never taken for news of the present one.

use std::collections::BTreeMap;

use acp_base::Uid;
use acp_core_system::{Input, Sight, command_line::Accelerator, limits};
use acp_wire_api::framework::Unit;

use super::Owner;
use crate::{
    effects::{QEMU, VMM, unit_name},
    observe::{self, sight},
};

impl Owner {
    /// The whole truth, at the first contact and after each loss.
    pub(super) fn all_units(&mut self, units: Vec<Unit>) {
        self.units = Some(units.into_iter().map(|unit| (unit.name.clone(), unit)).collect());
        self.say_health();
        let uids: Vec<Uid> = self.entries.keys().copied().collect();
        for uid in uids {
            self.learn_identities(uid);
            self.feed_or_verify(uid);
        }
    }

    pub(super) fn some_units(&mut self, units: Vec<Unit>, gone: Vec<String>) {
        for unit in units {
            if let Some(uid) = self.accepts(&unit) {
                self.known().insert(unit.name.clone(), unit);
                self.feed_units(uid);
            }
        }
        for name in gone {
            if let Some((_template, uid)) = split(&name) {
                self.known().remove(&name);
                self.feed_or_verify(uid);
            }
        }
    }

    /// One unit as the framework answered for it: certain.
    pub(super) fn one_unit(&mut self, name: String, unit: Option<Unit>) {
        let Some((_template, uid)) = split(&name) else { return };
        match unit {
            Some(unit) => drop(self.known().insert(name, unit)),
            None => drop(self.known().remove(&name)),
        }
        self.learn_identities(uid);
        self.feed_units(uid);
    }

    pub(super) fn unit_spawned(&mut self, uid: Uid, unit: Unit) {
        let Some((template, _uid)) = split(&unit.name) else { return };
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.spawned.insert(template, unit.uid);
        }
        // What the watch has said of this very unit is newer than the answer to the spawning.
        if self.known().get(&unit.name).is_none_or(|known| known.uid != unit.uid) {
            self.known().insert(unit.name.clone(), unit);
        }
    }

    pub(super) fn units_removed(&mut self, uid: Uid) {
        for template in [QEMU, VMM] {
            self.known().remove(&unit_name(template, uid));
        }
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.spawned.clear();
        }
    }

    /// Tells a machine what is known of its units.
    pub(super) fn feed_units(&mut self, uid: Uid) {
        self.heed_due();
        let Some(units) = &self.units else { return };
        let qemu = sight(units.get(&unit_name(QEMU, uid)));
        let vmm = sight(units.get(&unit_name(VMM, uid)));
        self.remember_limit(uid, &qemu);
        self.drive(uid, Input::Units { qemu, vmm });
        self.publish_system(uid);
    }

    /// The same, unless QEMU's unit is missing where it ought to be: then the framework is asked again first.
    fn feed_or_verify(&mut self, uid: Uid) {
        let name = unit_name(QEMU, uid);
        let is_missing = !self.known().contains_key(&name);
        let is_expected = self.entries.get(&uid).is_some_and(|entry| entry.system.expects_units());
        if is_missing && is_expected {
            self.spawn("unit check", observe::unit(self.client.clone(), self.inbox.clone(), name));
        } else {
            self.feed_units(uid);
        }
    }

    /// Whether a unit's process has ended for good while the unit is still there.
    pub(super) fn has_ended(&self, name: &str) -> bool {
        let unit = self.units.as_ref().and_then(|units| units.get(name));
        matches!(sight(unit), Sight::Ended(_))
    }

    /// The process of a system's QEMU.
    pub(super) fn qemu_pid(&self, uid: Uid) -> Option<u32> {
        self.units.as_ref()?.get(&unit_name(QEMU, uid))?.meta.pid
    }

    /// A system that was found running has its memory promised to it as if it had been started here.
    fn remember_limit(&mut self, uid: Uid, qemu: &Sight) {
        let decided = self.verdict.borrow().as_ref().map_or(Accelerator::Tcg, |verdict| verdict.accelerator);
        if let Some(entry) = self.entries.get_mut(&uid)
            && *qemu == Sight::Alive
            && entry.limit.is_none()
        {
            entry.limit = Some(limits::memory_limit(entry.spec.memory_bytes, decided));
            entry.accelerator = Some(decided);
        }
    }

    /// The system a unit belongs to, unless the news is of an earlier unit.
    fn accepts(&self, unit: &Unit) -> Option<Uid> {
        let (template, uid) = split(&unit.name)?;
        let spawned = self.entries.get(&uid).and_then(|entry| entry.spawned.get(template));
        (spawned.is_none_or(|spawned| *spawned == unit.uid)).then_some(uid)
    }

    fn learn_identities(&mut self, uid: Uid) {
        let found: Vec<(&'static str, Uid)> = [QEMU, VMM]
            .into_iter()
            .filter_map(|template| Some((template, self.units.as_ref()?.get(&unit_name(template, uid))?.uid)))
            .collect();
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.spawned = found.into_iter().collect();
        }
    }

    fn known(&mut self) -> &mut BTreeMap<String, Unit> {
        self.units.get_or_insert_default()
    }
}

/// Template and system of a unit's name.
fn split(name: &str) -> Option<(&'static str, Uid)> {
    let (template, instance) = name.split_once('@')?;
    let template = [QEMU, VMM].into_iter().find(|known| *known == template)?;
    Some((template, instance.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_units_lead_to_systems() {
        let uid = Uid::from_u128(0x0192_f0c0);
        assert_eq!(split(&unit_name(QEMU, uid)), Some((QEMU, uid)));
        assert_eq!(split("dnsmasq@00000000000000000000000000000001"), None);
        assert_eq!(split("qemu@default"), None);
        assert_eq!(split("cluster"), None);
    }
}
