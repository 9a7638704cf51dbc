//! What the hub knows of one node.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{BootInstant, Uid};
use foca::State;

use crate::{
    timing::{CONFIRMATION, CONFIRMATION_AGAIN, MUTE},
    verdict::{Confirmation, Session, Standing, Swim, Verdict},
};

/// What is known of one node.
#[derive(Debug)]
pub(super) struct Known {
    /// The other members of its ring.
    pub(super) ring: BTreeSet<Uid>,
    pub(super) connected: bool,
    pub(super) connected_since: BootInstant,
    pub(super) heard: BootInstant,
    /// Whether this session says that it lives at all: the silence of one that never did says nothing.
    pub(super) keeps_alive: bool,
    /// What the other members of its ring say of it.
    pub(super) reports: BTreeMap<Uid, State>,
    pub(super) swim: Swim,
    pub(super) swim_since: BootInstant,
    /// When the question that is on its way was asked.
    pub(super) asked: Option<BootInstant>,
    /// Whether the last one was answered, and when that was known; none: there is nothing to ask.
    pub(super) outcome: Option<(bool, BootInstant)>,
    pub(super) told: Option<Verdict>,
    pub(super) last: Option<Standing>,
    /// When the last conclusion was last drawn.
    pub(super) last_at: BootInstant,
}

impl Known {
    pub(super) fn new(now: BootInstant) -> Self {
        Self {
            ring: BTreeSet::new(),
            connected: false,
            connected_since: now,
            heard: now,
            keeps_alive: false,
            reports: BTreeMap::new(),
            swim: Swim::Unheard,
            swim_since: now,
            asked: None,
            outcome: None,
            told: None,
            last: None,
            last_at: now,
        }
    }

    /// Whatever comes over the session answers as well, unless it came before the question or its outcome.
    pub(super) fn hear(&mut self, now: BootInstant, at: BootInstant) {
        self.heard = self.heard.max(at);
        let is_newer = |instant: BootInstant| at >= instant;
        if self.asked.is_some_and(is_newer) || self.outcome.is_some_and(|(_answered, known)| is_newer(known)) {
            self.conclude(now, true);
        }
    }

    pub(super) fn conclude(&mut self, now: BootInstant, answered: bool) {
        (self.asked, self.outcome) = (None, Some((answered, now)));
    }

    /// The outcome stands until the next one, or a verdict would go back and forth while the question is repeated.
    pub(super) const fn confirmation(&self) -> Confirmation {
        match (self.outcome, self.asked) {
            (Some((true, _at)), _) => Confirmation::Answered,
            (Some((false, _at)), _) => Confirmation::Failed,
            (None, Some(_)) => Confirmation::Pending,
            (None, None) => Confirmation::None,
        }
    }

    /// Whether the answer to the question on its way is overdue.
    pub(super) fn is_unanswered(&self, now: BootInstant) -> bool {
        self.asked.is_some_and(|asked| now.since(asked) >= CONFIRMATION)
    }

    /// Whether it is time to ask, again or for the first time.
    pub(super) fn is_stale(&self, now: BootInstant) -> bool {
        self.outcome.is_none_or(|(_answered, at)| now.since(at) >= CONFIRMATION_AGAIN)
    }

    pub(super) fn session(&self, now: BootInstant) -> (Session, BootInstant) {
        if !self.connected {
            (Session::Down, self.connected_since)
        } else if self.keeps_alive && now.since(self.heard) >= MUTE {
            (Session::Mute, self.heard)
        } else {
            (Session::Up, self.connected_since)
        }
    }

    pub(super) fn hold(&mut self, now: BootInstant, swim: Swim) {
        if std::mem::discriminant(&self.swim) != std::mem::discriminant(&swim) {
            self.swim_since = now;
        }
        self.swim = swim;
    }

    pub(super) fn deadline(&self, has_room: bool) -> Option<BootInstant> {
        let answer = self.asked.map(|asked| asked + CONFIRMATION);
        let again = self.outcome.filter(|_| has_room && self.asked.is_none()).map(|(_, at)| at + CONFIRMATION_AGAIN);
        // Silence changes a verdict only where a confirmation has failed.
        let fails = matches!((&self.swim, self.outcome), (Swim::Down(_), Some((false, _at))));
        let can_mute = self.connected && self.keeps_alive;
        let mute = (fails && can_mute && self.told != Some(Verdict::Down)).then_some(self.heard + MUTE);
        [answer, again, mute].into_iter().flatten().min()
    }
}
