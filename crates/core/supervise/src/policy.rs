//! What decides whether and when a unit starts again.

use std::time::Duration;

use acp_wire_model::unit::UnitExit;

/// The first pause before a restart: long enough that a loop costs little, short enough that a caller's retry bridges it.
pub const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause: an operator who mends the cause does not wait longer for the next attempt.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A unit that was ready this long has recovered: the next pause is [`PAUSE_MIN`] again.
pub const READY_RESETS: Duration = Duration::from_secs(10);

/// This many unplanned ends within [`ENDS_WINDOW`] end the attempts: the pauses up to there sum up to 13 s, so a unit that
/// never comes up is reported as failed in less than half a minute.
pub const ENDS_MAX: usize = 8;

/// See [`ENDS_MAX`].
pub const ENDS_WINDOW: Duration = Duration::from_secs(60);

/// How often the kill is repeated while a killed process has not ended (it may hang in the kernel).
pub const KILL_REPEAT: Duration = Duration::from_secs(1);

/// When a unit that ended without being asked starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// However it ended, except when it said that restarting is useless (64, 78).
    Always,
    /// Unless it said that it is done (0) or that restarting is useless (64, 78).
    OnFailure,
    /// Not at all.
    Never,
}

/// What makes a unit ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It says so.
    Notify,
    /// Its program runs.
    Exec,
}

/// The rules for one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When it starts again.
    pub restart: Restart,
    /// What makes it ready.
    pub readiness: Readiness,
    /// From the spawn to being ready; later it is killed and the end counts as unplanned.
    pub start_timeout: Duration,
    /// From being asked to end to its end; later it is killed.
    pub stop_timeout: Duration,
    /// The longest silence of a ready unit; later it is killed and the end counts as unplanned. `None`: it may be silent.
    pub watchdog: Option<Duration>,
}

/// What an end means by the exit-code contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 0: it had nothing more to do.
    Done,
    /// 64 (usage) or 78 (bad configuration): starting it again changes nothing.
    Refused,
    /// 75: something it needs is missing for the moment. Not counted as a crash.
    Temporary,
    /// Anything else, a signal included.
    Bug,
}

/// What this end means.
pub fn judge(exit: &UnitExit) -> Verdict {
    match exit.status {
        Some(0) => Verdict::Done,
        Some(64 | 78) => Verdict::Refused,
        Some(75) => Verdict::Temporary,
        Some(_) | None => Verdict::Bug,
    }
}

/// The end in words, for a reason: `ended with status 1`.
pub fn describe(exit: &UnitExit) -> String {
    match (exit.out_of_memory, exit.status, exit.signal) {
        (true, ..) => "was killed by the kernel because its memory limit was reached".to_owned(),
        (false, Some(0), _) => "ended by itself with status 0".to_owned(),
        (false, Some(64), _) => "ended with status 64: its command line is wrong; its log says what".to_owned(),
        (false, Some(78), _) => {
            "ended with status 78: its configuration or its files have to be mended; its log says what".to_owned()
        }
        (false, Some(75), _) => {
            "ended with status 75: something it needs is missing at the moment; its log says what".to_owned()
        }
        (false, Some(status), _) => format!("ended with status {status}"),
        (false, None, Some(signal)) => format!("was ended by signal {signal}"),
        (false, None, None) => "ended, and how is not known because its shim was lost".to_owned(),
    }
}

impl Policy {
    /// Whether an unplanned end of this kind is followed by a restart.
    pub(crate) fn restarts_after(&self, verdict: Verdict) -> bool {
        match (verdict, self.restart) {
            (Verdict::Refused, _) | (_, Restart::Never) | (Verdict::Done, Restart::OnFailure) => false,
            (Verdict::Done, Restart::Always)
            | (Verdict::Temporary | Verdict::Bug, Restart::Always | Restart::OnFailure) => true,
        }
    }
}

/// The pause before restart number `failures` (from 0) in a row.
pub(crate) fn pause(failures: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<u128> = (0..9).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(pause(u32::MAX), PAUSE_MAX);
    }

    #[test]
    fn exit_codes_mean_what_the_contract_says() {
        let status =
            |status| judge(&UnitExit { status: Some(status), signal: None, out_of_memory: false, lost: false });
        assert_eq!(
            [0, 64, 78, 75, 1, 70].map(status),
            [Verdict::Done, Verdict::Refused, Verdict::Refused, Verdict::Temporary, Verdict::Bug, Verdict::Bug]
        );
        let killed = UnitExit { status: None, signal: Some(9), out_of_memory: false, lost: false };
        assert_eq!(judge(&killed), Verdict::Bug);
    }
}
