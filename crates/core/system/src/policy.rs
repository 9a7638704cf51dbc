//! Every bound of the machine, with its reason.

use std::{collections::VecDeque, time::Duration};

use acp_base::BootInstant;

/// How long limits, volumes and taps may take together. Longer than the 30 s deadline of each call behind them, so that
/// it only passes when the driver lost an answer.
pub const PREPARE_MAX: Duration = Duration::from_secs(60);

/// How long QEMU may take from being spawned to answering on QMP. A loaded host with slow disks takes seconds; half a
/// minute without an answer is a QEMU that will not come.
pub const QMP_READY_MAX: Duration = Duration::from_secs(30);

/// How long letting the processors run may take: one QMP command.
pub const RESUME_MAX: Duration = Duration::from_secs(10);

/// How long QEMU may take to end after `quit`, which flushes its disks, before its unit is removed by force.
pub const QUIT_MAX: Duration = Duration::from_secs(5);

/// How long the machine monitor's last word is awaited after QEMU ended with status 0, to tell a guest that powered off
/// from a QEMU that was told to end. Both come from the same host within milliseconds; a crowded host takes longer, and
/// waiting costs less than starting a guest that wanted to be off.
pub const LAST_WORD_MAX: Duration = Duration::from_secs(5);

/// How long a QEMU whose guest has powered off may take to end before its unit is removed by force.
pub const POWERED_OFF_MAX: Duration = Duration::from_secs(10);

/// The power button is pressed again after this pause, because a guest that is still booting does not hear it.
pub const POWER_BUTTON_EVERY: Duration = Duration::from_secs(10);

/// How long a guest may take to power off unless the caller says otherwise.
pub const SHUTDOWN_DEFAULT: Duration = Duration::from_secs(60);

/// The longest time a caller may give a guest to power off.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(3600);

/// Pause before a machine monitor that ended for good is spawned again; its guest runs on meanwhile.
pub const VMM_PAUSE: Duration = Duration::from_secs(2);

/// Pause before the disks of a declared system are made again after a failure, when no job waits for them.
pub const MAKE_AGAIN_PAUSE: Duration = Duration::from_secs(10);

/// Pauses between attempts to clean up (remove units, delete volumes, delete the declaration). Cleaning up is never given
/// up: the last pause repeats.
const RETRY_PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)];

/// The pause after this many failed attempts to clean up.
pub fn retry_pause(failures: usize) -> Duration {
    RETRY_PAUSES[failures.min(RETRY_PAUSES.len() - 1)]
}

/// A system that ended unexpectedly is restarted at most this often within [`RESTART_WINDOW`]; a guest that needs more
/// is broken, and restarting it harms its disks and its neighbours.
pub const RESTARTS_MAX: usize = 3;

/// See [`RESTARTS_MAX`].
pub const RESTART_WINDOW: Duration = Duration::from_secs(300);

/// Pauses before the first, second and third restart: at once for the single accident, longer for what repeats.
const RESTART_PAUSES: [Duration; RESTARTS_MAX] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15)];

/// The unplanned restarts of the recent past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    recent: VecDeque<BootInstant>,
}

impl Restarts {
    /// Counts one more and answers the pause before it, or `None` if there were too many already.
    pub fn allow(&mut self, now: BootInstant) -> Option<Duration> {
        while self.recent.front().is_some_and(|first| now.since(*first) >= RESTART_WINDOW) {
            self.recent.pop_front();
        }
        let pause = RESTART_PAUSES.get(self.recent.len()).copied()?;
        self.recent.push_back(now);
        Some(pause)
    }

    /// Forgets the past: an operator took the matter into their own hands.
    pub fn clear(&mut self) {
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_restarts_within_the_window_then_none_then_again() {
        let mut restarts = Restarts::default();
        let at = BootInstant::from_millis;
        assert_eq!(restarts.allow(at(0)), Some(Duration::from_secs(1)));
        assert_eq!(restarts.allow(at(1_000)), Some(Duration::from_secs(5)));
        assert_eq!(restarts.allow(at(2_000)), Some(Duration::from_secs(15)));
        assert_eq!(restarts.allow(at(299_999)), None);
        assert_eq!(restarts.allow(at(300_000)), Some(Duration::from_secs(15)));
    }
}
