//! When what is missing is asked for.

use acp_base::{BootInstant, Uid};

use super::Replica;
use crate::{
    counters::Counters,
    limits::{
        GROUP_REPEAT_MAX, NACK_DELAY, NACK_JITTER, NACK_RANGES_MAX, NACK_RETRY, NACK_RETRY_MAX, OVERTAKEN_JITTER,
    },
    random::Random,
    ranges::Range,
    wire::Nack,
};

impl Replica {
    /// Somebody has to tell the origin that it is not the newest of its node.
    pub(super) fn overtake(&mut self, now: BootInstant, node: Uid, random: &mut Random) {
        let Some(followed) = self.origins.get_mut(&node).filter(|followed| !followed.is_overtaken) else { return };
        followed.is_overtaken = true;
        self.set_timer(node, Some(now + random.up_to(OVERTAKEN_JITTER)));
    }

    /// Sets when to ask for what is missing, if anything is. What is being asked for already keeps its time.
    pub(super) fn reschedule(&mut self, now: BootInstant, node: Uid, random: &mut Random) {
        let Some(followed) = self.origins.get_mut(&node).filter(|followed| !followed.is_overtaken) else { return };
        if followed.is_whole() {
            followed.nacks = 0;
            self.set_timer(node, None);
        } else if followed.nack_at.is_none() && !followed.is_silent(now) {
            self.set_timer(node, Some(now + NACK_DELAY + random.up_to(NACK_JITTER)));
        }
    }

    pub(super) fn set_timer(&mut self, node: Uid, at: Option<BootInstant>) {
        let Some(followed) = self.origins.get_mut(&node) else { return };
        if let Some(old) = std::mem::replace(&mut followed.nack_at, at) {
            self.timers.remove(&(old, node));
        }
        if let Some(at) = at {
            self.timers.insert((at, node));
        }
    }

    /// The NACKs that are due.
    pub(crate) fn nacks(&mut self, now: BootInstant, random: &mut Random) -> Vec<Nack> {
        let mut due = Vec::new();
        while let Some((_, node)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.set_timer(node, None);
            due.extend(self.nack(now, node, random));
        }
        due
    }

    fn nack(&mut self, now: BootInstant, node: Uid, random: &mut Random) -> Option<Nack> {
        let followed = self.origins.get_mut(&node)?;
        let origin = followed.origin;
        if std::mem::take(&mut followed.is_overtaken) {
            return Some(Nack { origin, ranges: Vec::new() });
        }
        if followed.is_whole() || followed.is_silent(now) {
            return None;
        }
        let ranges: Vec<Range> = followed.wanted().iter().take(NACK_RANGES_MAX).collect();
        self.back_off(now, node, random);
        Some(Nack { origin, ranges })
    }

    fn back_off(&mut self, now: BootInstant, node: Uid, random: &mut Random) {
        let Some(followed) = self.origins.get_mut(&node) else { return };
        let wait = NACK_RETRY.saturating_mul(1 << followed.nacks.min(10)).min(NACK_RETRY_MAX);
        followed.nacks += 1;
        self.set_timer(node, Some(now + random.about(wait)));
    }

    /// Another node has asked the group; what it asked for need not be asked for again before the answer can be here.
    pub(crate) fn overhear(&mut self, now: BootInstant, nack: &Nack, random: &mut Random, counters: &mut Counters) {
        let node = nack.origin.node;
        let Some(followed) = self.origins.get_mut(&node).filter(|followed| followed.origin == nack.origin) else {
            return;
        };
        if nack.ranges.is_empty() {
            if std::mem::take(&mut followed.is_overtaken) {
                self.set_timer(node, None);
            }
            return;
        }
        let goes_to_group = nack.ranges.iter().map(|range| range.count()).sum::<u64>() <= GROUP_REPEAT_MAX;
        let asked = |range: Range| nack.ranges.iter().any(|own| own.and(range) == Some(range));
        let is_mine = followed.nack_at.is_some() && !followed.is_overtaken && followed.wanted().iter().all(asked);
        if is_mine && goes_to_group {
            counters.suppressed += 1;
            self.set_timer(node, Some(now + random.about(NACK_RETRY)));
        }
    }
}
