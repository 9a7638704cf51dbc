//! The timers that foca has asked for.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use acp_base::BootInstant;
use foca::Timer;

use crate::Identity;

/// One timer: foca's event, and when foca asked for it.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) event: Timer<Identity>,
    pub(crate) since: BootInstant,
}

/// The timers. Bounded by what foca asks for: one each for probe, indirect probe and gossip, those left over from a contact that
/// ended, which live for one period, and one suspicion for each refutation of a member.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeMap<(BootInstant, u64), Set>,
    number: u64,
}

impl Timers {
    pub(crate) fn first(&self) -> Option<BootInstant> {
        self.due.first_key_value().map(|((at, _number), _set)| *at)
    }

    /// A member that is probed again while it is suspected of the same keeps the earlier deadline.
    pub(crate) fn set(&mut self, at: BootInstant, set: Set) {
        let is_suspicion = matches!(set.event, Timer::ChangeSuspectToDown { .. });
        if is_suspicion && self.due.values().any(|known| known.event == set.event) {
            return;
        }
        self.number += 1;
        if let Entry::Vacant(free) = self.due.entry((at, self.number)) {
            free.insert(set);
        }
    }

    /// Whether this node itself has accused the member.
    pub(crate) fn accuses(&self, member: &Identity) -> bool {
        let accused =
            |set: &Set| matches!(&set.event, Timer::ChangeSuspectToDown { member_id, .. } if member_id == member);
        self.due.values().any(accused)
    }

    /// Takes what is due, in the order in which foca wants it if it comes late together.
    pub(crate) fn take(&mut self, now: BootInstant) -> Vec<Set> {
        let later = self.due.split_off(&(now, u64::MAX));
        let mut due: Vec<Set> = std::mem::replace(&mut self.due, later).into_values().collect();
        due.sort_by(|a, b| a.event.cmp(&b.event));
        due
    }

    /// Puts everything off: time in which this node stood still does not count.
    pub(crate) fn put_off(&mut self, by: Duration) {
        let late = std::mem::take(&mut self.due);
        let later = |set: Set| Set { since: set.since + by, ..set };
        self.due = late.into_iter().map(|((at, number), set)| ((at + by, number), later(set))).collect();
    }
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::from_millis(millis)
    }

    fn set(event: Timer<Identity>) -> Set {
        Set { event, since: at(0) }
    }

    fn indirect() -> Timer<Identity> {
        Timer::SendIndirectProbe { probed_id: Identity::unknown(Uid::from_u128(1)), token: 0 }
    }

    #[test]
    fn what_is_late_together_comes_in_its_order() {
        let mut timers = Timers::default();
        timers.set(at(10), set(Timer::ProbeRandomMember(0)));
        timers.set(at(20), set(indirect()));
        timers.set(at(30), set(Timer::PeriodicGossip(0)));
        let taken: Vec<_> = timers.take(at(20)).into_iter().map(|set| set.event).collect();
        assert_eq!(taken, [indirect(), Timer::ProbeRandomMember(0)]);
        assert_eq!(timers.first(), Some(at(30)));
    }

    #[test]
    fn a_suspicion_is_kept_once_and_everything_can_be_put_off() {
        let member_id = Identity::unknown(Uid::from_u128(1));
        let suspicion = || set(Timer::ChangeSuspectToDown { member_id, incarnation: 0, token: 0 });
        let mut timers = Timers::default();
        timers.set(at(10), suspicion());
        timers.set(at(50), suspicion());
        timers.put_off(Duration::from_millis(100));
        assert!(timers.take(at(109)).is_empty());
        assert_eq!(timers.take(at(110)).first().map(|set| set.since), Some(at(100)));
        assert_eq!(timers.first(), None);
    }
}
