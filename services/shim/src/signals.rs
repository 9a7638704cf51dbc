//! Signals as things to wait for: they are blocked and read from a descriptor.

use std::io;

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Blocks every signal that can be blocked and opens a descriptor for the named ones. What is not named stays pending and is
/// thereby ignored.
pub(crate) fn open(named: &[Signal]) -> io::Result<SignalFd> {
    SigSet::all().thread_block()?;
    let mask: SigSet = named.iter().copied().collect();
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Every signal that has come since.
pub(crate) fn drain(signals: &SignalFd) -> Vec<Signal> {
    let mut came = Vec::new();
    while let Ok(Some(info)) = signals.read_signal() {
        came.extend(i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()));
    }
    came
}

/// Lets every signal through again, for a program that is about to be executed.
pub(crate) fn unblock() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Status(i32),
    /// By this signal.
    Signal(i32),
}

/// Takes every ended child off the process table and answers how `main` ended, if it is among them.
pub(crate) fn reap(main: u32) -> Option<End> {
    let mut end = None;
    loop {
        let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, End::Status(status)),
            Ok(WaitStatus::Signaled(pid, signal, _core)) => (pid, End::Signal(number(signal))),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return end,
            Ok(_) | Err(_) => continue,
        };
        if i32::try_from(main).is_ok_and(|main| Pid::from_raw(main) == pid) {
            end = Some(how);
        }
    }
}

fn number(signal: Signal) -> i32 {
    // The enumeration's values are the numbers of `signal(7)`.
    signal as i32
}
