//! Signs of life of the guarded program (`sd_notify(3)`, `WATCHDOG=1`).
//!
//! Deliberately not here: readiness, and programs that never give a sign: those are not watched. What follows from silence is
//! the guard's matter.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use acp_io_unit::{bind_notify, receive_notification};

/// The longest silence of a living program. It gives three signs in that time; a host that is too busy for all three has
/// stood still for longer than a restart of the framework takes.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Only the program writes, which runs as the guard's own user.
const SOCKET_MODE: u32 = 0o600;

/// The signs of one program after the other.
#[derive(Debug)]
pub(crate) struct Pulse {
    socket: OwnedFd,
    path: PathBuf,
    /// The last sign in the program's present life.
    last: Option<Instant>,
}

impl Pulse {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: bind_notify(path, SOCKET_MODE)?, path: path.to_owned(), last: None })
    }

    /// A new life begins with this command.
    pub(crate) fn begin(&mut self, command: &mut Command) {
        self.forget();
        command.env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", SILENCE_MAX.as_micros().to_string());
    }

    /// Takes in what was said; what others than the program say does not count.
    pub(crate) fn listen(&mut self, program: u32) {
        loop {
            match receive_notification(&self.socket) {
                Ok(Some(said)) if said.watchdog && said.pid == program => self.last = Some(Instant::now()),
                Ok(_other) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_nothing_more) => return,
            }
        }
    }

    /// The program's life is over, or about to be.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// How long the program may still be silent; `None` before its first sign.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.last.map(|last| SILENCE_MAX.saturating_sub(last.elapsed()))
    }
}

impl AsFd for Pulse {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
