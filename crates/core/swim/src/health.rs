//! How far this node may trust its own verdicts (Lifeguard: Dadgar, Phillips, Currey 2018).
//!
//! A node that stood still, hears nobody, or has to deny its own death is likely to be the one at fault; it then waits longer
//! before it declares others dead. foca's probe period cannot change while it runs, so only the suspicion grows.

use std::time::Duration;

use crate::timing::{PROBE_PERIOD, SUSPICION};

/// How bad it can get: suspicion is then nine times as long, 13.5 s, so that a node that hears nobody still says so in the end.
pub const SCORE_MAX: u8 = 8;

/// The health of this node: 0 is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    score: u8,
}

impl Health {
    /// 0 to [`SCORE_MAX`].
    pub const fn score(self) -> u8 {
        self.score
    }

    /// How long this node now gives a suspect.
    pub fn suspicion(self) -> Duration {
        SUSPICION * (1 + u32::from(self.score))
    }

    /// This node's timers were so late.
    pub(crate) fn stood_still(&mut self, late: Duration) {
        let periods = late.as_nanos() / PROBE_PERIOD.as_nanos();
        self.raise(u8::try_from(periods).unwrap_or(SCORE_MAX).saturating_add(1));
    }

    /// Somebody said that this node is dead, or may be.
    pub(crate) fn accused(&mut self) {
        self.raise(1);
    }

    /// A probe period has passed, in which others were `heard` or not. Who knows of fewer than two others cannot tell their
    /// death from its own deafness, and goes by the probe alone.
    pub(crate) fn period(&mut self, heard: bool, others: usize) {
        if heard {
            self.score = self.score.saturating_sub(1);
        } else if others >= 2 {
            self.raise(1);
        }
    }

    fn raise(&mut self, by: u8) {
        self.score = self.score.saturating_add(by).min(SCORE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_counts_by_its_length() {
        for (millis, score) in [(150, 1), (400, 2), (2_000, 6), (60_000, SCORE_MAX)] {
            let mut health = Health::default();
            health.stood_still(Duration::from_millis(millis));
            assert_eq!(health.score(), score, "{millis} ms");
            assert_eq!(health.suspicion(), SUSPICION * (1 + u32::from(score)));
        }
    }

    #[test]
    fn silence_raises_and_hearing_lowers() {
        let mut health = Health::default();
        (0..20).for_each(|_| health.period(false, 2));
        assert_eq!(health.score(), SCORE_MAX);
        (0..3).for_each(|_| health.period(true, 2));
        assert_eq!(health.score(), SCORE_MAX - 3);
        (0..20).for_each(|_| health.period(true, 2));
        assert_eq!(health, Health::default());
        health.accused();
        assert_eq!(health.score(), 1);
    }

    #[test]
    fn the_last_other_may_be_dead() {
        let mut health = Health::default();
        (0..20).for_each(|_| health.period(false, 1));
        assert_eq!(health.score(), 0);
    }
}
