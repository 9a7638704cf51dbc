//! A process that is watched through a pidfd.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitId, WaitIdOptions, pidfd_getfd, pidfd_open, pidfd_send_signal,
        waitid,
    },
};
use tokio::io::unix::AsyncFd;

use crate::{procfs, readiness, record::Ended};

/// How long a shim may take to record an end before the end counts as unknown: it has one small file to write, and a
/// supervisor says within a second what became of a unit.
const RECORD_WAIT: Duration = Duration::from_millis(800);

/// How often the record is looked for.
const RECORD_POLL: Duration = Duration::from_millis(2);

/// A process, named for good by id and start time.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start: u64,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// The process with this id and start time; `None` if it is gone, whatever has its id now.
    ///
    /// # Errors
    /// When the system refuses a pidfd for another reason.
    pub fn open(pid: u32, start: u64) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let fd = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The id is held by the pidfd's process from here on, so the start time is that process's or it is gone.
        match procfs::start_time(pid) {
            Ok(found) if found == start => {}
            Ok(_) | Err(_) => return Ok(None),
        }
        Ok(Some(Self { pid, start, fd: readiness::watch(fd)? }))
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its start time.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Waits until it has ended; returns at once if it has. Cancel-safe.
    pub async fn ended(&self) {
        if let Err(error) = self.fd.readable().await {
            // Only the end of the runtime does that.
            tracing::debug!(pid = self.pid, %error, "a process is not watched any more");
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Frees its entry in the process table if it is an ended child of this process.
    pub fn reap(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        if let Err(error) = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&self.fd)), options) {
            tracing::trace!(pid = self.pid, %error, "not a child");
        }
    }

    /// Sends a signal; one that has ended needs none.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A duplicate of one of its descriptors.
    ///
    /// # Errors
    /// When it has no such descriptor or this process may not trace it.
    pub fn descriptor(&self, number: i32) -> io::Result<OwnedFd> {
        Ok(pidfd_getfd(&self.fd, number, PidfdGetfdFlags::empty())?)
    }
}

/// Waits until the main process of a unit has ended, and for what its shim recorded of it; `None` if there is no shim any more
/// that could.
pub async fn wait_for_end(main: &Process, shim: Option<&Process>, records: &Path) -> Option<Ended> {
    main.ended().await;
    wait_for_record(main.pid, main.start, shim, records).await
}

/// Waits for what the shim recorded of the end of a process that has ended, as long as there is a shim that could.
pub async fn wait_for_record(pid: u32, start: u64, shim: Option<&Process>, records: &Path) -> Option<Ended> {
    let deadline = tokio::time::Instant::now() + RECORD_WAIT;
    loop {
        // Looked at before the record: a shim that has ended wrote it before.
        let is_last = shim.is_none_or(Process::has_ended) || tokio::time::Instant::now() >= deadline;
        let ended = Ended::read(records).filter(|ended| (ended.pid, ended.start) == (pid, start));
        if ended.is_some() || is_last {
            return ended;
        }
        tokio::time::sleep(RECORD_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn an_end_is_seen_and_a_stranger_is_refused() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let start = procfs::start_time(child.id()).expect("it runs");
        assert!(
            Process::open(child.id(), start + 1).expect("no error").is_none(),
            "another start time is another process"
        );
        let process = Process::open(child.id(), start).expect("no error").expect("it runs");
        assert!(!process.has_ended());
        process.signal(Signal::KILL).expect("it is ours");
        process.ended().await;
        assert!(process.has_ended());
        child.wait().expect("it is a child");
        assert!(Process::open(child.id(), start).expect("no error").is_none());
        process.signal(Signal::KILL).expect("an ended process needs no signal");
    }
}
