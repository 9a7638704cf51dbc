//! An alarm at an instant of CLOCK_BOOTTIME, for what must happen although the host was suspended meanwhile: the runtime's own
//! timers stand still then, and are late by as much.
//!
//! **Invariant**: an alarm whose instant has passed rings as soon as the process runs.

use std::{io, os::fd::OwnedFd};

use acp_base::BootInstant;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// The alarm.
#[derive(Debug)]
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When the system has no descriptor for it.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        Ok(Self(watch(fd)?))
    }

    /// Sets it, or not any more; an instant that has passed rings at once.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn set(&self, at: Option<BootInstant>) -> io::Result<()> {
        // A value of zero would switch it off.
        let nanos = at.map_or(0, |at| at.as_nanos().max(1));
        let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX);
        let value = Timespec { tv_sec: seconds, tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    /// Waits until it rings. Cancel-safe.
    ///
    /// # Errors
    /// When the runtime ends.
    pub async fn rings(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut count)?)) {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[expect(unsafe_code, reason = "registering has a contract about the descriptor's life, which owning it fulfils")]
fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, refers to the same file description and answers the same number until it is dropped, and
    // the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(|error| error.into_parts().1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use acp_io_daemon::boot_now;

    use super::*;

    #[tokio::test]
    async fn rings_at_its_instant_and_at_once_for_a_past_one() {
        let alarm = Alarm::new().expect("the kernel has timers");
        let at = boot_now() + Duration::from_millis(30);
        alarm.set(Some(at)).expect("set");
        alarm.rings().await.expect("it rings");
        assert!(boot_now() >= at);
        alarm.set(Some(BootInstant::from_nanos(0))).expect("set");
        alarm.rings().await.expect("it rings");
        alarm.set(None).expect("set");
        let silence = tokio::time::timeout(Duration::from_millis(30), alarm.rings()).await;
        assert!(silence.is_err(), "it is not set");
    }
}
