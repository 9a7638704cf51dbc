//! What is known of the way to one peer and back.

use std::time::Duration;

use acp_base::{BootInstant, Uid, WallTime};

use super::{
    limits::{ANSWER_GAP, ECHO_PERIOD, HEARD_LIMIT},
    measure::{Arrivals, Outcomes, Trips},
    sending::{Mode, Sending},
    size::Sizes,
};

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) sending: Sending,
    heard_at: Option<BootInstant>,
    pub(crate) arrivals: Arrivals,
    asked_at: Option<BootInstant>,
    pending: Option<Asked>,
    answered_at: Option<BootInstant>,
    outcomes: Outcomes,
    trips: Trips,
    pub(crate) sizes: Sizes,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    token: u32,
    at: BootInstant,
    wall: WallTime,
}

/// What an operator is shown of the way to one peer and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerReport {
    /// The peer.
    pub peer: Uid,
    /// How it is sent to.
    pub mode: Mode,
    /// Since when.
    pub mode_since: BootInstant,
    /// Whether it says that it hears this node's multicast; false also if it says nothing.
    pub hears: bool,
    /// Whether its multicast is heard here.
    pub is_heard: bool,
    /// How many of a thousand of its last multicast probes are missing.
    pub multicast_loss_permille: Option<u32>,
    /// How many of a thousand of the last unicast echoes are missing, there or back.
    pub unicast_loss_permille: Option<u32>,
    /// The round trip by unicast, smoothed; it includes the waiting in both processes.
    pub round_trip: Option<Duration>,
    /// How far its wall clock is ahead of this node's, in milliseconds, give or take half a round trip and one.
    pub clock_offset_millis: Option<i64>,
    /// The largest datagram, in bytes as UDP carries it, that reaches it in one piece: of the sizes that are tried; none: not known.
    pub datagram_bytes: Option<usize>,
}

impl Peer {
    pub(crate) fn new(now: BootInstant) -> Self {
        Self {
            sending: Sending::new(now),
            heard_at: None,
            arrivals: Arrivals::default(),
            asked_at: None,
            pending: None,
            answered_at: None,
            outcomes: Outcomes::default(),
            trips: Trips::default(),
            sizes: Sizes::default(),
        }
    }

    pub(crate) const fn hear(&mut self, now: BootInstant) {
        self.heard_at = Some(now);
    }

    pub(crate) fn is_heard(&self, now: BootInstant) -> bool {
        self.heard_at.is_some_and(|at| now.since(at) <= HEARD_LIMIT)
    }

    /// Whether only unicast tells it that it is heard: what this node multicasts does not reach it.
    pub(crate) fn depends_on_echoes(&self, now: BootInstant) -> bool {
        self.is_heard(now) && self.sending.mode() == Mode::Unicast
    }

    /// When it was asked last, if it may be asked again.
    pub(crate) fn due(&self, now: BootInstant) -> Option<BootInstant> {
        match self.asked_at {
            None => Some(BootInstant::default()),
            Some(at) => (now.since(at) >= ECHO_PERIOD).then_some(at),
        }
    }

    /// When a size was tried last, if one may be tried: the last small echo has come back, and not so lately that the peer would
    /// take the next question for a flood.
    pub(crate) fn size_due(&self, now: BootInstant) -> Option<BootInstant> {
        let is_quiet = self.asked_at.is_some_and(|at| now.since(at) >= 2 * ANSWER_GAP);
        let is_answered = self.pending.is_none() && self.trips.smoothed().is_some();
        self.sizes.due(now).filter(|_| is_quiet && is_answered)
    }

    /// Notes that it is asked now; a question that was still open is lost. Before its first answer nothing is: it may have no key
    /// yet, or not be there.
    pub(crate) fn ask(&mut self, now: BootInstant, wall: WallTime, token: u32) {
        if self.pending.is_some() && self.trips.smoothed().is_some() {
            self.outcomes.push(false);
        }
        self.asked_at = Some(now);
        self.pending = Some(Asked { token, at: now, wall });
    }

    /// Whether it may be answered; notes that it is.
    pub(crate) fn answer(&mut self, now: BootInstant) -> bool {
        let is_due = self.answered_at.is_none_or(|at| now.since(at) >= ANSWER_GAP);
        if is_due {
            self.answered_at = Some(now);
        }
        is_due
    }

    /// Its answer; answers whether it is one to the open question. `at` is when it was asked, by its clock.
    pub(crate) fn answered(&mut self, now: BootInstant, token: u32, at: WallTime) -> bool {
        let Some(asked) = self.pending.take_if(|asked| asked.token == token) else { return false };
        let trip = now.since(asked.at);
        let half = u64::try_from(trip.as_millis() / 2).unwrap_or(u64::MAX);
        // Its clock read `at` when ours read, as far as we can know, the time of asking and half of the trip.
        let ours = asked.wall.0.saturating_add(half);
        let offset = i128::from(at.0) - i128::from(ours);
        let nearest = if offset < 0 { i64::MIN } else { i64::MAX };
        self.outcomes.push(true);
        self.trips.push(trip, i64::try_from(offset).unwrap_or(nearest));
        true
    }

    /// This node did not run for so long: what did not come meanwhile is nobody's fault.
    pub(crate) fn excuse(&mut self, now: BootInstant, late: Duration) {
        self.sending.excuse(now, late);
        self.heard_at = self.heard_at.map(|at| (at + late).min(now));
        self.pending = None;
        self.sizes.excuse();
    }

    pub(crate) fn report(&self, peer: Uid, now: BootInstant) -> PeerReport {
        PeerReport {
            peer,
            mode: self.sending.mode(),
            mode_since: self.sending.since(),
            hears: self.sending.is_confirmed(now),
            is_heard: self.is_heard(now),
            multicast_loss_permille: self.arrivals.loss_permille(),
            unicast_loss_permille: self.outcomes.loss_permille(),
            round_trip: self.trips.smoothed(),
            clock_offset_millis: self.trips.offset_millis(),
            datagram_bytes: self.sizes.passes(),
        }
    }
}
