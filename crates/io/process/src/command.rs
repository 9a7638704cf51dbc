//! What is to be run, and how.

use std::{
    ffi::OsString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal},
};
use tokio::time::Instant;

use crate::{Output, Process, ProcessError, output::Lines};

/// Where programs named without a slash are looked for: the distribution's directories, whatever the daemon's own `PATH`.
pub const ENVIRONMENT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a tool may run unless [`Command::time_limit`] says otherwise: what we call is done in milliseconds, and a
/// caller's own deadline is 30 s.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);

/// How much a tool may write to its standard output unless [`Command::stdout_bytes_max`] says otherwise: a ruleset or the
/// description of an image has kilobytes.
pub const STDOUT_BYTES_MAX: usize = 4 << 20;

/// A tool to be run.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    inherited: Vec<OwnedFd>,
    time_limit: Duration,
    stdout_bytes_max: usize,
}

impl Command {
    /// A run of this program: a name is looked for in [`ENVIRONMENT_PATH`], a path is taken as it is.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            stdin: None,
            inherited: Vec::new(),
            time_limit: TIME_LIMIT,
            stdout_bytes_max: STDOUT_BYTES_MAX,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a variable to the clean environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Gives it these bytes as its standard input; without, it reads nothing.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Lets it inherit this descriptor under the number answered (`/proc/self/fd/<number>`), without letting it leak into
    /// any other process started meanwhile.
    pub fn inherit(&mut self, descriptor: OwnedFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.inherited.push(descriptor);
        number
    }

    /// Kills it after this time.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Kills it when it writes more than this to its standard output. Lines and [`Process::read`] are not counted.
    #[must_use]
    pub fn stdout_bytes_max(mut self, bytes_max: usize) -> Self {
        self.stdout_bytes_max = bytes_max;
        self
    }

    /// Runs it to its end, successful or not.
    pub async fn run(self) -> Result<Output, ProcessError> {
        let bytes_max = self.stdout_bytes_max;
        let mut process = self.start()?;
        let mut stdout = Vec::new();
        let mut chunk = vec![0; 16 << 10];
        loop {
            let count = process.read(&mut chunk).await?;
            if count == 0 {
                break;
            }
            if stdout.len() + count > bytes_max {
                return Err(ProcessError::TooMuchOutput { program: process.program().to_owned(), bytes_max });
            }
            stdout.extend_from_slice(&chunk[..count]);
        }
        let output = process.finish().await?;
        Ok(Output { stdout, ..output })
    }

    /// Runs it to its end and errs if it did not succeed.
    pub async fn run_ok(self) -> Result<Output, ProcessError> {
        self.run().await?.success()
    }

    /// Runs it to its end and hands over each line of its standard output as it comes, as for `qemu-img convert -p`. Lines
    /// end at a line feed or a carriage return; the output answered has no standard output.
    pub async fn run_lines(self, mut on_line: impl FnMut(&str) + Send) -> Result<Output, ProcessError> {
        let mut process = self.start()?;
        let mut lines = Lines::default();
        let mut chunk = vec![0; 4 << 10];
        loop {
            let count = process.read(&mut chunk).await?;
            if count == 0 {
                break;
            }
            lines.push(&chunk[..count], &mut on_line);
        }
        lines.flush(&mut on_line);
        process.finish().await
    }

    /// Starts it; its standard output is read with [`Process::read`]. To be called on a thread of the runtime: the kernel
    /// kills the tool when the thread ends that started it, and threads for blocking work end when they are idle.
    pub fn start(self) -> Result<Process, ProcessError> {
        let program = self.program.to_string_lossy().into_owned();
        let deadline = Instant::now() + self.time_limit;
        let limit = self.time_limit;
        match self.spawn() {
            Ok(child) => Ok(Process::new(program, child, deadline, limit)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(ProcessError::NotInstalled { program }),
            Err(source) => Err(ProcessError::Start { program, source }),
        }
    }

    fn spawn(self) -> io::Result<tokio::process::Child> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", ENVIRONMENT_PATH)
            .env("LC_ALL", "C")
            .envs(self.environment)
            .stdin(self.stdin.map_or_else(|| Ok(Stdio::null()), |bytes| stdin_file(&bytes))?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let parent = getpid();
        let inherited = self.inherited;
        #[expect(unsafe_code, reason = "the standard library has no safe way to act between fork and exec")]
        // SAFETY: the closure runs in the child between fork and exec. It only makes the system calls fcntl, prctl and
        // getppid through rustix, allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(move || prepare_child(parent, &inherited));
        }
        command.spawn()
    }
}

/// Ties the child's life to its parent's and lets it keep the inherited descriptors. The kernel's tie is to the thread
/// that forked: the runtime's own threads live as long as the process.
fn prepare_child(parent: Pid, inherited: &[OwnedFd]) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(io::Error::from(rustix::io::Errno::CHILD));
    }
    for descriptor in inherited {
        rustix::io::fcntl_setfd(descriptor.as_fd(), rustix::io::FdFlags::empty())?;
    }
    Ok(())
}

/// A file in memory with these bytes: unlike a pipe it needs nobody to feed it while the tool's output is read.
fn stdin_file(bytes: &[u8]) -> io::Result<Stdio> {
    use io::{Seek, Write};
    let mut file = std::fs::File::from(memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
