//! How long is what.

use std::time::Duration;

use acp_wire_api::hub::RenewSessionReply;

/// How long a session lives and what follows from it: a quarter of it between renewals, a half until the pause, eleven
/// sixteenths until the kill.
///
/// The proportion is fixed because each part pays for something: two renewals may be lost before the pause; between pause and
/// kill a late renewal saves the guest; between kill and the end of the session lie the time that killing takes, different
/// rates of two clocks, and how old a leader's knowledge of its leadership may be ([`Timing::proof_age_max`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    ttl: Duration,
    pause: Duration,
    kill: Duration,
}

/// The shortest session: with less, a busy disk or scheduler pauses guests.
const TTL_MIN: Duration = Duration::from_secs(1);

/// The longest: whoever waits for a dead node's systems waits as long.
const TTL_MAX: Duration = Duration::from_secs(600);

/// Why times are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Too short or too long.
    #[error("a session of {ttl:?} is not within 1 s and 600 s")]
    Ttl {
        /// What was given.
        ttl: Duration,
    },
    /// A reply's numbers do not leave what the others are for.
    #[error(
        "a session of {ttl:?} with a pause after {pause:?} and a kill after {kill:?} leaves too little between them"
    )]
    Proportion {
        /// How long the session lives.
        ttl: Duration,
        /// When the processors are stopped.
        pause: Duration,
        /// When the machine is killed.
        kill: Duration,
    },
}

impl Timing {
    /// 8 s: renewed every 2 s, paused after 4 s, killed after 5.5 s.
    pub const DEFAULT: Self =
        Self { ttl: Duration::from_secs(8), pause: Duration::from_secs(4), kill: Duration::from_millis(5_500) };

    /// The times of a session that lives so long.
    pub fn of_ttl(ttl: Duration) -> Result<Self, TimingError> {
        if ttl < TTL_MIN || ttl > TTL_MAX {
            return Err(TimingError::Ttl { ttl });
        }
        Ok(Self { ttl, pause: ttl / 2, kill: ttl / 16 * 11 })
    }

    /// The times that a leader answers; they may be shorter than this version would make them, not longer.
    pub fn of_reply(reply: &RenewSessionReply) -> Result<Self, TimingError> {
        let millis = Duration::from_millis;
        let (ttl, pause, kill) = (millis(reply.ttl_ms), millis(reply.pause_ms), millis(reply.kill_ms));
        let most = Self::of_ttl(ttl)?;
        if pause > most.pause || kill > most.kill || pause >= kill {
            return Err(TimingError::Proportion { ttl, pause, kill });
        }
        Ok(Self { ttl, pause, kill })
    }

    /// How long the leader keeps a lease for its holder after it took the last renewal.
    pub const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// After how long without a renewal a machine's processors are stopped, counted from when the last one was sent.
    pub const fn pause(&self) -> Duration {
        self.pause
    }

    /// After how long the machine is killed, counted likewise.
    pub const fn kill(&self) -> Duration {
        self.kill
    }

    /// How often a node renews.
    pub fn renewal(&self) -> Duration {
        self.ttl / 4
    }

    /// How old the proof of its leadership may be on which a leader answers. A successor counts its time to live from its own
    /// election, so an answer of an earlier leader must not outlast that: half of what lies between kill and end.
    pub fn proof_age_max(&self) -> Duration {
        (self.ttl - self.kill) / 2
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(ttl_ms: u64, pause_ms: u64, kill_ms: u64) -> RenewSessionReply {
        RenewSessionReply { ttl_ms, pause_ms, kill_ms, leases: Vec::new() }
    }

    #[test]
    fn the_numbers_of_the_design() {
        let timing = Timing::of_ttl(Duration::from_secs(8)).expect("within the bounds");
        assert_eq!(timing, Timing::DEFAULT);
        assert_eq!(timing.renewal(), Duration::from_secs(2));
        assert_eq!(timing.proof_age_max(), Duration::from_millis(1_250));
    }

    #[test]
    fn sessions_too_short_or_too_long_are_refused() {
        for millis in [0, 999, 600_001] {
            let ttl = Duration::from_millis(millis);
            assert_eq!(Timing::of_ttl(ttl), Err(TimingError::Ttl { ttl }));
        }
    }

    #[test]
    fn a_reply_without_room_between_its_numbers_is_refused() {
        assert_eq!(Timing::of_reply(&reply(8_000, 4_000, 5_500)), Ok(Timing::DEFAULT));
        assert!(Timing::of_reply(&reply(8_000, 1_000, 2_000)).is_ok(), "an earlier end is safe");
        for (pause, kill) in [(4_001, 5_500), (4_000, 5_501), (4_000, 4_000), (5_000, 3_000)] {
            let refused = Timing::of_reply(&reply(8_000, pause, kill));
            assert!(matches!(refused, Err(TimingError::Proportion { .. })), "{pause} {kill}: {refused:?}");
        }
        assert!(matches!(Timing::of_reply(&reply(0, 0, 0)), Err(TimingError::Ttl { .. })));
    }
}
