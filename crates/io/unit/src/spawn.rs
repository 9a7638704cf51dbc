//! Starting a unit's process behind a shim of its own.

use std::{
    io::{self, Seek as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream as BlockingStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use tokio::{io::AsyncReadExt as _, net::UnixStream, time::timeout};

use crate::{
    Process,
    launch::{DESCRIPTORS_MAX, Launch},
    record::{self, Ended},
};

/// How long a shim may take from its start to the program's: it makes a few system calls; the rest is for a busy host.
const SPAWN_LIMIT: Duration = Duration::from_secs(10);

/// The longest report of a shim in bytes: two lines.
const REPORT_BYTES_MAX: u64 = 4096;

/// Why a unit's process could not be started. Nothing of it is left but what is in its cgroup.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// More descriptors than one message carries.
    #[error("{0} descriptors are more than {DESCRIPTORS_MAX}")]
    TooManyDescriptors(usize),
    /// The shim itself could not be started.
    #[error("cannot start {shim}")]
    Shim {
        /// The shim's path.
        shim: String,
        /// Why.
        source: io::Error,
    },
    /// The shim ended or hung before it had started the program.
    #[error("its shim gave up: {0}")]
    GaveUp(String),
    /// The program ran and has already ended, as recorded; the shim has written everything it will.
    #[error("it ended at once")]
    Ended(Option<Ended>),
    /// The shim could not start the program; the sentence is its own.
    #[error("{0}")]
    Refused(String),
}

/// A started unit.
#[derive(Debug)]
pub struct Spawned {
    /// The main process.
    pub main: Process,
    /// Its shim, a child of this process.
    pub shim: Process,
}

/// Starts a shim and waits until it has started the program. The descriptors become 3, 4, ... of the program.
///
/// `environment` is the shim's own; the program's is in the description.
///
/// # Errors
/// When shim or program could not be started.
pub async fn spawn(
    shim: &Path,
    environment: &[(String, String)],
    launch: &Launch,
    descriptors: &[BorrowedFd<'_>],
) -> Result<Spawned, SpawnError> {
    if descriptors.len() > DESCRIPTORS_MAX {
        return Err(SpawnError::TooManyDescriptors(descriptors.len()));
    }
    let failed = |source| SpawnError::Shim { shim: shim.display().to_string(), source };
    let (mut child, report) = start(shim, environment, launch, descriptors).map_err(failed)?;
    let answer = match timeout(SPAWN_LIMIT, read_report(report)).await {
        Ok(Ok(text)) => match interpret(&text) {
            Ok(started) => match started.open(&mut child, &launch.records).await {
                // Its shim has ended and is off the process table.
                Err(SpawnError::Ended(ended)) => return Err(SpawnError::Ended(ended)),
                opened => opened,
            },
            Err(error) => Err(error),
        },
        Ok(Err(error)) => Err(SpawnError::GaveUp(error.to_string())),
        Err(_elapsed) => Err(SpawnError::GaveUp(format!("the program did not run within {} s", SPAWN_LIMIT.as_secs()))),
    };
    if answer.is_err() {
        abandon(&mut child).await;
    }
    answer
}

fn start(
    shim: &Path,
    environment: &[(String, String)],
    launch: &Launch,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<(Child, BlockingStream)> {
    record::clear(&launch.records)?;
    let (ours, theirs) = BlockingStream::pair()?;
    send_descriptors(&ours, descriptors)?;
    let mut command = Command::new(shim);
    command.args(["run", &launch.unit]).env_clear().envs(environment.iter().cloned()).current_dir("/");
    command.stdin(Stdio::from(description(launch)?)).stdout(Stdio::from(OwnedFd::from(theirs)));
    Ok((command.spawn()?, ours))
}

/// An anonymous file with the description, at its beginning.
fn description(launch: &Launch) -> io::Result<OwnedFd> {
    let mut file = std::fs::File::from(memfd_create("acp-launch", MemfdFlags::CLOEXEC)?);
    file.write_all(&launch.encode())?;
    file.rewind()?;
    Ok(file.into())
}

/// One byte with the descriptors, which wait in the socket until the program's process takes them.
fn send_descriptors(socket: &BlockingStream, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[io::IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Everything the shim and the process that becomes the program say. The end comes when the program runs, because the
/// socket closes on exec, or when both have ended.
async fn read_report(report: BlockingStream) -> io::Result<String> {
    report.set_nonblocking(true)?;
    let mut text = String::new();
    UnixStream::from_std(report)?.take(REPORT_BYTES_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

/// What a shim says when the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Report {
    pid: u32,
    start: u64,
    shim_pid: u32,
    shim_start: u64,
}

/// Reads `started PID START SHIM_PID SHIM_START` and `failed SENTENCE`.
fn interpret(text: &str) -> Result<Report, SpawnError> {
    if let Some(sentence) = text.lines().find_map(|line| line.strip_prefix("failed ")) {
        return Err(SpawnError::Refused(sentence.to_owned()));
    }
    let started = text.lines().find_map(|line| line.strip_prefix("started ")).and_then(|line| {
        let mut fields = line.split(' ');
        let pid = fields.next()?.parse().ok()?;
        let start = fields.next()?.parse().ok()?;
        let shim_pid = fields.next()?.parse().ok()?;
        let shim_start = fields.next()?.parse().ok()?;
        Some(Report { pid, start, shim_pid, shim_start })
    });
    started.ok_or_else(|| SpawnError::GaveUp(format!("it said {text:?}; the framework's log may say more")))
}

impl Report {
    /// Takes hold of both processes. A program that is gone already has left its record when the shim has ended.
    async fn open(self, child: &mut Child, records: &Path) -> Result<Spawned, SpawnError> {
        let lost = |error: io::Error| SpawnError::GaveUp(format!("process {} cannot be watched: {error}", self.pid));
        acp_io_failpoint::point("framework.start.shim-started").map_err(|injected| lost(injected.into()))?;
        let main = Process::open(self.pid, self.start).map_err(lost)?;
        let shim = Process::open(self.shim_pid, self.shim_start).map_err(lost)?;
        if let (Some(main), Some(shim)) = (main, shim) {
            return Ok(Spawned { main, shim });
        }
        wait(child).await;
        Err(SpawnError::Ended(Ended::read(records)))
    }
}

/// Ends a shim that did not do its work, and takes it off the process table.
async fn abandon(child: &mut Child) {
    if let Err(error) = child.kill() {
        tracing::debug!(%error, "the shim had ended");
    }
    wait(child).await;
}

/// Waits for the end of a shim that has nothing more to do, and takes it off the process table.
async fn wait(child: &mut Child) {
    let deadline = tokio::time::Instant::now() + SPAWN_LIMIT;
    while matches!(child.try_wait(), Ok(None)) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_understood() {
        let report = interpret("started 7 70 6 60\n").expect("well-formed");
        assert_eq!(report, Report { pid: 7, start: 70, shim_pid: 6, shim_start: 60 });
        let refused = interpret("started 7 70 6 60\nfailed cannot run /x: no such file\n").expect_err("it says so");
        assert_eq!(refused.to_string(), "cannot run /x: no such file");
        assert!(matches!(interpret(""), Err(SpawnError::GaveUp(_))));
        assert!(matches!(interpret("started 7"), Err(SpawnError::GaveUp(_))));
    }
}
