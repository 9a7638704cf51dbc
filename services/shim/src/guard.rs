//! `acp-shim respawn`: keeps the framework running.

use std::{
    ffi::OsString,
    io::{self, PipeReader, Read as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use acp_io_unit::{close_on_exec, guard::VARIABLE};
use nix::sys::{signal::Signal, signalfd::SignalFd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::ioctl_fionbio,
    process::{Pid, getppid, kill_process, set_child_subreaper, set_parent_process_death_signal},
};

use crate::{
    log::Log,
    pulse::{Pulse, SILENCE_MAX},
    say,
    signals::{self, End},
};

/// The pauses before a restart; see the crate's documentation.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A life this long was a good one: the next pause is [`PAUSE_MIN`] again.
const GOOD_LIFE: Duration = Duration::from_secs(10);

/// How long the program may take to end after it was asked to: the framework stops every unit first, each within its own
/// limit, in a handful of stages.
const STOP_LIMIT: Duration = Duration::from_secs(180);

/// Size of the log file from which on it is set aside, and how many are kept: as for units by default.
const LOG_BYTES_MAX: u64 = 8 << 20;
const LOG_FILES: u32 = 4;

const CHUNK_BYTES: usize = 4096;

/// Runs the program until it says that it is done or this process is told to end.
pub(crate) fn run(log: Option<&Path>, notify: Option<&Path>, program: &[OsString]) -> Result<ExitCode, String> {
    let prepare = || -> io::Result<SignalFd> {
        close_on_exec()?;
        set_child_subreaper(Some(rustix::process::getpid()))?;
        signals::open(&[Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
    };
    let signals = prepare().map_err(|error| format!("cannot set up: {error}"))?;
    let log = log.map(|path| Log::new(path, LOG_BYTES_MAX, LOG_FILES));
    let pulse =
        notify.map(Pulse::open).transpose().map_err(|error| format!("cannot listen to the program: {error}"))?;
    let guard = Guard { log, output: None, pulse, signals, is_ending: None, is_renewing: false };
    guard.run(program).map_err(|error| format!("cannot guard {}: {error}", program[0].to_string_lossy()))
}

/// Becomes the guarded program, which ends with its guard; returns only if that failed, with the reason.
pub(crate) fn become_guarded(program: &[OsString]) -> String {
    let prepared = set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(io::Error::from);
    let prepared = prepared.and_then(|()| signals::unblock());
    if let Err(error) = prepared {
        return format!("cannot tie the program to its guard: {error}");
    }
    // The guard may have ended before the tie was made.
    if std::env::var_os(VARIABLE).is_none_or(|pid| getppid().is_none_or(|parent| pid != *parent.to_string())) {
        return "the guard is gone".to_owned();
    }
    let error = Command::new(&program[0]).args(&program[1..]).exec();
    format!("cannot run {}: {error}", program[0].to_string_lossy())
}

/// Becomes the program that this process was started from, as it is on disk now; returns only if that failed, with the reason.
fn become_anew() -> io::Error {
    let mut words = std::env::args_os();
    let Some(program) = words.next() else { return io::Error::other("this process was started without a name") };
    Command::new(program).args(words).exec()
}

/// What signals ask of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// SIGTERM, SIGINT: end, and the program first.
    End,
    /// SIGHUP: go on with the programs as they are on disk now, this one included.
    Renew,
}

#[derive(Debug)]
struct Guard {
    /// `None`: the program writes where the guard does.
    log: Option<Log>,
    output: Option<PipeReader>,
    /// `None`: the program may stand still for as long as it likes.
    pulse: Option<Pulse>,
    signals: SignalFd,
    /// Since when this process has been told to end.
    is_ending: Option<Instant>,
    /// Whether the program was killed for a newer one.
    is_renewing: bool,
}

impl Guard {
    fn run(mut self, program: &[OsString]) -> io::Result<ExitCode> {
        let mut pause = PAUSE_MIN;
        loop {
            let start = Instant::now();
            let pid = self.spawn(program)?;
            let end = self.watch(pid)?;
            let done = match end {
                End::Status(status @ (0 | 64 | 78)) => u8::try_from(status).ok(),
                End::Status(_) | End::Signal(_) => self.is_ending.map(|_since| 0),
            };
            if let Some(status) = done {
                return Ok(ExitCode::from(status));
            }
            if std::mem::take(&mut self.is_renewing) {
                self.renew();
                continue;
            }
            if start.elapsed() >= GOOD_LIFE {
                pause = PAUSE_MIN;
            }
            say(&format!(
                "{} ended ({end:?}) and is started again in {} ms",
                program[0].to_string_lossy(),
                pause.as_millis()
            ));
            match self.rest(pause)? {
                Told::End => return Ok(ExitCode::SUCCESS),
                Told::Renew => self.renew(),
                Told::Nothing => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Becomes the newer guard, under the same process id, which starts the newer program. Returns only if that failed: then
    /// this guard goes on.
    fn renew(&mut self) {
        self.copy();
        say("this guard and its program are started anew from what is on disk");
        let error = become_anew();
        say(&format!("the guard on disk cannot be executed, the present one goes on: {error}"));
    }

    fn spawn(&mut self, program: &[OsString]) -> io::Result<u32> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("guarded").args(program).env(VARIABLE, std::process::id().to_string()).stdin(Stdio::null());
        if self.log.is_some() {
            let (output, writer) = io::pipe()?;
            ioctl_fionbio(&output, true)?;
            command.stdout(writer.try_clone()?).stderr(writer);
            self.output = Some(output);
        }
        if let Some(pulse) = &mut self.pulse {
            pulse.begin(&mut command);
        }
        command.spawn().map(|child| child.id())
    }

    /// Waits for the program's end; passes on the request to end.
    fn watch(&mut self, pid: u32) -> io::Result<End> {
        let process =
            i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))?;
        loop {
            let late = self.is_ending.is_some_and(|since| since.elapsed() >= STOP_LIMIT);
            if late {
                kill_process(process, rustix::process::Signal::KILL)?;
            }
            let limit = self.is_ending.map(|since| STOP_LIMIT.saturating_sub(since.elapsed()).max(PAUSE_MIN));
            let patience = self.pulse.as_ref().and_then(Pulse::patience).map(|patience| patience.max(PAUSE_MIN));
            let told = self.wait([limit, patience].into_iter().flatten().min())?;
            self.end_if_silent(pid, process)?;
            let end = signals::reap(pid);
            self.copy();
            if let Some(end) = end {
                return Ok(end);
            }
            match told {
                Told::End => {
                    self.is_ending = Some(Instant::now());
                    kill_process(process, rustix::process::Signal::TERM)?;
                }
                // Its successor adopts what it leaves, as after any other end.
                Told::Renew if self.is_ending.is_none() => {
                    self.is_renewing = true;
                    kill_process(process, rustix::process::Signal::KILL)?;
                }
                Told::Renew | Told::Nothing => {}
            }
        }
    }

    /// A program that stands still is killed; its end is then treated as any other.
    fn end_if_silent(&mut self, pid: u32, process: Pid) -> io::Result<()> {
        let Some(pulse) = &mut self.pulse else { return Ok(()) };
        pulse.listen(pid);
        if pulse.patience() == Some(Duration::ZERO) {
            say(&format!("process {pid} gave no sign of life for {} s and is killed", SILENCE_MAX.as_secs()));
            pulse.forget();
            kill_process(process, rustix::process::Signal::KILL)?;
        }
        Ok(())
    }

    /// Waits out the pause, unless something else is asked for meanwhile.
    fn rest(&mut self, pause: Duration) -> io::Result<Told> {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            let told = self.wait(Some(end.saturating_duration_since(Instant::now())))?;
            if told != Told::Nothing {
                return Ok(told);
            }
            signals::reap(0);
            self.copy();
            if let Some(pulse) = &mut self.pulse {
                // Of a program that has ended.
                pulse.listen(0);
            }
        }
        Ok(Told::Nothing)
    }

    /// Waits until there is output or a signal; answers what the signals ask for.
    fn wait(&self, limit: Option<Duration>) -> io::Result<Told> {
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        fds.extend(self.output.as_ref().map(|output| PollFd::new(output, PollFlags::IN)));
        fds.extend(self.pulse.as_ref().map(|pulse| PollFd::new(pulse, PollFlags::IN)));
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let came = signals::drain(&self.signals);
        let is_any = |wanted: &[Signal]| came.iter().any(|signal| wanted.contains(signal));
        Ok(if is_any(&[Signal::SIGTERM, Signal::SIGINT]) {
            Told::End
        } else if is_any(&[Signal::SIGHUP]) {
            Told::Renew
        } else {
            Told::Nothing
        })
    }

    fn copy(&mut self) {
        let mut chunk = [0_u8; CHUNK_BYTES];
        while let (Some(output), Some(log)) = (&mut self.output, &mut self.log) {
            match output.read(&mut chunk) {
                Ok(0) => self.output = None,
                Ok(bytes) => log.write(&chunk[..bytes]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_broken) => self.output = None,
            }
        }
    }
}
