//! How this node sends to one peer: by multicast while the peer confirms that it hears, else by unicast.

use std::time::Duration;

use acp_base::BootInstant;

use super::limits::{CONFIRM_LIMIT, HOLD_FIRST, HOLD_MAX, HOLD_MIN, STABLE};

/// How a peer is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It hears what goes to the group.
    Multicast,
    /// It has to be sent a copy.
    Unicast,
}

/// Why the mode has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has said for long enough that it hears.
    Confirmed,
    /// It says that it does not hear.
    Denied,
    /// It has not said for too long that it hears.
    Unconfirmed,
}

/// One direction towards one peer.
///
/// **Invariant**: the mode is multicast only if the peer has confirmed it within [`CONFIRM_LIMIT`] of running time, and had done so without
/// a break for the whole hold before.
#[derive(Debug)]
pub(crate) struct Sending {
    mode: Mode,
    since: BootInstant,
    confirmed_at: Option<BootInstant>,
    /// Since when it has confirmed without a break, while the mode is unicast.
    good_since: Option<BootInstant>,
    /// How long that must last.
    hold: Duration,
    /// Until then it is this node's own fault if the peer does not hear it.
    excused_until: BootInstant,
}

impl Sending {
    /// By unicast, which works anywhere, until the peer confirms.
    pub(crate) const fn new(now: BootInstant) -> Self {
        let mode = Mode::Unicast;
        Self { mode, since: now, confirmed_at: None, good_since: None, hold: HOLD_FIRST, excused_until: now }
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) const fn since(&self) -> BootInstant {
        self.since
    }

    /// What the peer says; answers why the mode has changed, if it has.
    pub(crate) fn hear(&mut self, now: BootInstant, is_heard: bool) -> Option<Why> {
        // A break that no tick has seen is one all the same.
        let broken = self.expire(now);
        if !is_heard && now < self.excused_until {
            return broken;
        }
        if !is_heard {
            self.confirmed_at = None;
            self.good_since = None;
            return broken.or_else(|| self.fall_back(now).then_some(Why::Denied));
        }
        self.confirmed_at = Some(now);
        let good_since = *self.good_since.get_or_insert(now);
        if self.mode == Mode::Unicast && now.since(good_since) >= self.hold {
            (self.mode, self.since) = (Mode::Multicast, now);
            return Some(Why::Confirmed);
        }
        broken
    }

    /// Looks whether the last confirmation is too old.
    pub(crate) fn expire(&mut self, now: BootInstant) -> Option<Why> {
        if self.is_confirmed(now) {
            return None;
        }
        self.good_since = None;
        self.fall_back(now).then_some(Why::Unconfirmed)
    }

    pub(crate) fn is_confirmed(&self, now: BootInstant) -> bool {
        self.confirmed_at.is_some_and(|at| now.since(at) <= CONFIRM_LIMIT)
    }

    /// This node did not run for so long; what was not confirmed meanwhile is nobody's fault, and that it was not heard is its own.
    pub(crate) fn excuse(&mut self, now: BootInstant, late: Duration) {
        self.excused_until = now + CONFIRM_LIMIT;
        self.confirmed_at = self.confirmed_at.map(|at| (at + late).min(now));
    }

    fn fall_back(&mut self, now: BootInstant) -> bool {
        if self.mode == Mode::Unicast {
            return false;
        }
        let was_stable = now.since(self.since) >= STABLE || self.hold < HOLD_MIN;
        self.hold = if was_stable { HOLD_MIN } else { (self.hold * 2).min(HOLD_MAX) };
        (self.mode, self.since) = (Mode::Unicast, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Confirms each second until the mode changes; answers after how many seconds.
    fn seconds_to_multicast(sending: &mut Sending, from: u64) -> u64 {
        let mut confirmed = |seconds: &u64| sending.hear(BootInstant::from_millis((from + seconds) * 1_000), true);
        let at = (0..200).find(|seconds| confirmed(seconds) == Some(Why::Confirmed));
        at.expect("it comes")
    }

    #[test]
    fn each_fall_doubles_the_hold_and_a_long_good_time_forgives() {
        let (mut sending, mut now) = (Sending::new(BootInstant::from_millis(0)), 10);
        let mut holds = Vec::new();
        for _ in 0..7 {
            let took = seconds_to_multicast(&mut sending, now);
            holds.push(took);
            now += took + 1;
            assert_eq!(sending.hear(BootInstant::from_millis(now * 1_000), false), Some(Why::Denied));
        }
        assert_eq!(holds, [1, 5, 10, 20, 40, 60, 60]);
        now += seconds_to_multicast(&mut sending, now);
        for _ in 0..STABLE.as_secs() {
            now += 1;
            assert_eq!(sending.hear(BootInstant::from_millis(now * 1_000), true), None);
        }
        assert_eq!(sending.hear(BootInstant::from_millis(now * 1_000), false), Some(Why::Denied));
        assert_eq!(seconds_to_multicast(&mut sending, now), 5);
    }

    #[test]
    fn one_break_begins_the_hold_anew() {
        let at = BootInstant::from_millis;
        let mut sending = Sending::new(at(0));
        assert_eq!(sending.hear(at(0), true), None);
        assert_eq!(sending.hear(at(900), false), None);
        assert_eq!(sending.hear(at(1_000), true), None);
        assert_eq!(sending.hear(at(1_999), true), None);
        assert_eq!(sending.hear(at(2_000), true), Some(Why::Confirmed));
        assert_eq!(sending.expire(at(4_400)), None);
        assert_eq!(sending.expire(at(4_401)), Some(Why::Unconfirmed));
        assert_eq!(sending.hear(at(5_000), true), None);
        // Nobody has looked between these two, and yet the silence between them is a break.
        assert_eq!(sending.hear(at(12_000), true), None);
        assert_eq!(sending.mode(), Mode::Unicast);
    }
}
