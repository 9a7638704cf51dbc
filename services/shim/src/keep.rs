//! `acp-shim run`: starts the unit's process and keeps it company.

use std::{
    io::{self, PipeReader, Read as _},
    os::fd::AsFd as _,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use acp_io_unit::{
    close_on_exec,
    launch::Launch,
    procfs,
    record::{Ended, Started},
};
use nix::sys::{signal::Signal, signalfd::SignalFd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
    io::{fcntl_dupfd_cloexec, ioctl_fionbio},
    process::{Gid, Uid, set_child_subreaper, setsid},
    stdio::{dup2_stdin, dup2_stdout, stdin, stdout},
    thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::{
    log::Log,
    receive,
    signals::{self, End},
};

/// How long output is awaited from processes that outlive the main one, which the framework is about to kill.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// Output read at once: a page of it costs a page of memory, a pipe holds sixteen.
const CHUNK_BYTES: usize = 4096;

/// Runs the unit that is described on standard input, until it has ended.
pub(crate) fn run() -> Result<ExitCode, String> {
    let launch = receive::launch().map_err(|error| format!("cannot read the launch description: {error}"))?;
    let unit = launch.unit.clone();
    keep(&launch).map_err(|error| format!("{unit}: {error}"))
}

fn keep(launch: &Launch) -> io::Result<ExitCode> {
    close_on_exec()?;
    setsid()?;
    set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = signals::open(&[Signal::SIGCHLD])?;
    let (output, writer) = io::pipe()?;
    let pid = spawn(launch, writer)?;
    let started = describe(pid)?;
    drop_privileges(launch)?;
    started.write(&launch.records)?;
    report(&started)?;
    let keeper = Keeper {
        log: Log::new(&launch.log, launch.log_bytes_max, launch.log_files),
        output: Some(output),
        signals,
        started,
    };
    keeper.run(launch)
}

/// Starts the process that becomes the program. It waits for nothing, so it may run before this returns.
fn spawn(launch: &Launch, output: io::PipeWriter) -> io::Result<u32> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["exec", &launch.unit]).env_clear();
    let again = |fd| fcntl_dupfd_cloexec(fd, receive::FIRST).map(Stdio::from);
    command.stdin(again(stdin())?).stdout(again(stdout())?).stderr(output);
    command.spawn().map(|child| child.id())
}

fn describe(pid: u32) -> io::Result<Started> {
    let shim_pid = std::process::id();
    Ok(Started {
        pid,
        start: procfs::start_time(pid)?,
        shim_pid,
        shim_start: procfs::start_time(shim_pid)?,
        boot: procfs::boot_id()?,
    })
}

/// From here on the shim can do nothing but write its own files.
fn drop_privileges(launch: &Launch) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(launch.shim_uid), Gid::from_raw(launch.shim_gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    set_no_new_privs(true)?;
    Ok(())
}

/// Tells the framework which processes there are and closes what it gave.
fn report(started: &Started) -> io::Result<()> {
    let Started { pid, start, shim_pid, shim_start, .. } = started;
    receive::report(stdout(), &format!("started {pid} {start} {shim_pid} {shim_start}\n"));
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    Ok(())
}

#[derive(Debug)]
struct Keeper {
    log: Log,
    /// `None` once every writer has closed it.
    output: Option<PipeReader>,
    signals: SignalFd,
    started: Started,
}

impl Keeper {
    fn run(mut self, launch: &Launch) -> io::Result<ExitCode> {
        if let Some(output) = &self.output {
            ioctl_fionbio(output, true)?;
        }
        let end = loop {
            self.wait(None)?;
            signals::drain(&self.signals);
            let end = signals::reap(self.started.pid);
            self.copy();
            if let Some(end) = end {
                break end;
            }
        };
        self.record(end).write(&launch.records)?;
        let deadline = Instant::now() + DRAIN_LIMIT;
        while self.output.is_some() && Instant::now() < deadline {
            self.wait(Some(deadline.saturating_duration_since(Instant::now())))?;
            signals::drain(&self.signals);
            signals::reap(self.started.pid);
            self.copy();
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Waits until there is output or a child has ended.
    fn wait(&self, limit: Option<Duration>) -> io::Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        fds.extend(self.output.as_ref().map(|output| PollFd::new(output, PollFlags::IN)));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies what is in the pipe into the log.
    fn copy(&mut self) {
        let mut chunk = [0_u8; CHUNK_BYTES];
        while let Some(output) = &mut self.output {
            match output.read(&mut chunk) {
                Ok(0) => self.output = None,
                Ok(bytes) => self.log.write(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_broken) => self.output = None,
            }
        }
    }

    fn record(&self, end: End) -> Ended {
        let (status, signal) = match end {
            End::Status(status) => (Some(status), None),
            End::Signal(signal) => (None, Some(signal)),
        };
        Ended { pid: self.started.pid, start: self.started.start, status, signal }
    }
}
