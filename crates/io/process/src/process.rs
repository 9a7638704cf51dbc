//! A tool that runs.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncReadExt,
    process::{Child, ChildStderr, ChildStdout},
    time::{Instant, timeout_at},
};

use crate::{Output, ProcessError, output::Tail};

/// A tool that runs; killed with its whole process group when this is dropped.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
    group: Group,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    said: Tail,
    deadline: Instant,
    limit: Duration,
}

impl Process {
    pub(crate) fn new(program: String, mut child: Child, deadline: Instant, limit: Duration) -> Self {
        let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        tracing::debug!(program, pid = child.id(), "tool started");
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Self { program, child, group, stdout, stderr, said: Tail::default(), deadline, limit }
    }

    /// The program.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Reads from the tool's standard output; zero at its end. Standard error is drained meanwhile. Cancel-safe.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ProcessError> {
        let read = next_output(&mut self.stdout, &mut self.stderr, &mut self.said, buffer);
        match timeout_at(self.deadline, read).await {
            Ok(Ok(count)) => Ok(count),
            Ok(Err(source)) => Err(ProcessError::Pipe { program: self.program.clone(), source }),
            Err(_elapsed) => Err(self.timed_out()),
        }
    }

    /// Hands over the reading end of the tool's standard output, for a reader that blocks; [`Process::read`] then answers
    /// zero. `None` if it was taken before or has ended.
    pub fn take_stdout(&mut self) -> io::Result<Option<OwnedFd>> {
        self.stdout.take().map(ChildStdout::into_owned_fd).transpose()
    }

    /// Waits for the tool's end, leaving out what it still writes to its standard output.
    pub async fn finish(mut self) -> Result<Output, ProcessError> {
        let mut surplus = [0; 4 << 10];
        while self.read(&mut surplus).await? > 0 {}
        self.drain_errors().await?;
        let status = match timeout_at(self.deadline, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(source)) => return Err(ProcessError::Pipe { program: self.program.clone(), source }),
            Err(_elapsed) => return Err(self.timed_out()),
        };
        self.group.reaped();
        Ok(Output { program: self.program.clone(), status, stdout: Vec::new(), stderr: self.said.text() })
    }

    async fn drain_errors(&mut self) -> Result<(), ProcessError> {
        while self.stderr.is_some() {
            match timeout_at(self.deadline, read_errors(&mut self.stderr, &mut self.said)).await {
                Ok(Ok(())) => {}
                Ok(Err(source)) => return Err(ProcessError::Pipe { program: self.program.clone(), source }),
                Err(_elapsed) => return Err(self.timed_out()),
            }
        }
        Ok(())
    }

    fn timed_out(&self) -> ProcessError {
        self.group.kill();
        ProcessError::TimedOut { program: self.program.clone(), limit: self.limit }
    }
}

async fn next_output(
    stdout: &mut Option<ChildStdout>,
    stderr: &mut Option<ChildStderr>,
    said: &mut Tail,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let Some(out) = stdout else { return Ok(0) };
    let count = loop {
        tokio::select! {
            count = out.read(buffer) => break count?,
            drained = read_errors(stderr, said), if stderr.is_some() => drained?,
        }
    };
    if count == 0 && !buffer.is_empty() {
        *stdout = None;
    }
    Ok(count)
}

/// Reads one piece of standard error; at its end the stream becomes `None`.
async fn read_errors(stderr: &mut Option<ChildStderr>, said: &mut Tail) -> io::Result<()> {
    let Some(stream) = stderr else { return Ok(()) };
    let mut chunk = [0; 1 << 10];
    let count = stream.read(&mut chunk).await?;
    said.push(&chunk[..count]);
    if count == 0 {
        *stderr = None;
    }
    Ok(())
}

/// The tool's process group, while its number is surely its own: until its leader is reaped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn kill(&self) {
        let Some(leader) = self.0 else { return };
        if let Err(error) = kill_process_group(leader, Signal::KILL) {
            tracing::debug!(%error, "no process of the tool's group was left to kill");
        }
    }

    fn reaped(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
