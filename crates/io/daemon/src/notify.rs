//! Telling the supervisor how the daemon is (`sd_notify(3)`).

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::Health;

/// Says READY=1. Without a supervisor nobody listens, which is no error.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// Says STOPPING=1.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        // A supervisor that restarts is told again by the next ping.
        tracing::debug!(%error, "the supervisor cannot be told");
    }
}

/// Pings the watchdog three times per period until the daemon has ended, and until the drain repeats READY=1 each time, so that
/// a restarted supervisor knows at once.
pub(crate) async fn feed_watchdog(health: Health, drain: CancellationToken, ended: CancellationToken) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut pings = tokio::time::interval((period / 3).max(MIN_PING));
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            _instant = pings.tick() => {
                if health.is_announced() && !drain.is_cancelled() {
                    send(&[NotifyState::Ready, NotifyState::Watchdog]);
                } else {
                    send(&[NotifyState::Watchdog]);
                }
            }
        }
    }
}

/// The shortest pause between two pings, so that a watchdog period of nothing does not busy the daemon.
const MIN_PING: Duration = Duration::from_millis(50);
