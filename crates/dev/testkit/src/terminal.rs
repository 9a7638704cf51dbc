//! A program on a terminal of its own, as a person would run it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::wait_for;

/// How long one look for output waits; [`crate::wait_for`] looks again.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// A running program and the person's side of its terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    screen: Vec<u8>,
}

impl Terminal {
    /// Runs the command as the leader of a session on a new terminal of 80 columns and 24 rows.
    pub fn run(program: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("no terminal to be had")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?.into_string()?;
        let slave = File::options().read(true).write(true).custom_flags_noctty().open(&path)?;
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(program).args(arguments).envs(environment.iter().copied());
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(Stdio::from(slave.try_clone()?));
        let child = command.spawn().context("cannot run setsid")?;
        let terminal = Self { child, master: File::from(master), slave: slave.into(), screen: Vec::new() };
        terminal.resize(80, 24)?;
        Ok(terminal)
    }

    /// Changes the size.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).context("cannot change the terminal's size")
    }

    /// Types.
    pub fn write(&mut self, keys: &[u8]) -> Result<()> {
        self.master.write_all(keys).context("cannot type")
    }

    /// Whether keys go to the program one by one, without echo: raw mode.
    pub fn is_raw(&self) -> Result<bool> {
        let modes = tcgetattr(self.slave.as_fd()).context("cannot look at the terminal's mode")?.local_modes;
        Ok(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Waits until what was printed since the start contains the text.
    pub fn wait_for_text(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait_for_screen(&format!("{text:?} on the terminal"), limit, |screen| {
            if screen.contains(text) { Ok(()) } else { Err(format!("{screen:?}")) }
        })
    }

    /// Waits until the condition holds for what was printed since the start; see [`wait_for`].
    pub fn wait_for_screen<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<T> {
        wait_for(what, limit, || {
            self.look().map_err(|error| format!("{error:#}"))?;
            condition(&self.screen())
        })
    }

    /// Everything printed so far; bytes that are no UTF-8 are replaced.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen).into_owned()
    }

    /// Waits until the program ends and answers its exit status.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<i32> {
        wait_for("the end of the program on the terminal", limit, || {
            self.look().map_err(|error| format!("{error:#}"))?;
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status.code().unwrap_or(-1)),
                Ok(None) => Err(format!("it runs and printed {:?}", self.screen())),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn look(&mut self) -> Result<()> {
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut fds, Some(&LOOK))? == 0 || !fds[0].revents().contains(PollFlags::IN) {
            return Ok(());
        }
        let mut chunk = [0; 4096];
        let count = self.master.read(&mut chunk).context("the terminal is gone")?;
        if count == 0 {
            bail!("the terminal is closed");
        }
        self.screen.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // `setsid --wait` is the child; its end closes the terminal, which hangs up what runs on it.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Opening a terminal must not make it ours.
trait NoControllingTerminal {
    fn custom_flags_noctty(&mut self) -> &mut Self;
}

impl NoControllingTerminal for std::fs::OpenOptions {
    fn custom_flags_noctty(&mut self) -> &mut Self {
        use std::os::unix::fs::OpenOptionsExt as _;
        let flags = rustix::fs::OFlags::NOCTTY.bits();
        self.custom_flags(i32::from_ne_bytes(flags.to_ne_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than a shell takes on a busy machine.
    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_program_has_a_terminal_of_its_own() {
        let script =
            "tty >/dev/null && stty size && read line && echo got-$line && stty raw -echo && echo raw && read -r end";
        let mut terminal = Terminal::run(std::path::Path::new("sh"), &["-c", script], &[]).expect("a shell");
        terminal.wait_for_text("24 80", LIMIT).expect("its size");
        assert!(!terminal.is_raw().expect("a mode"));
        terminal.write(b"word\r").expect("typed");
        terminal.wait_for_text("got-word", LIMIT).expect("its answer");
        terminal.wait_for_text("raw", LIMIT).expect("the change");
        assert!(terminal.is_raw().expect("a mode"));
        terminal.write(b"end\n").expect("typed");
        assert_eq!(terminal.wait_exit(LIMIT).expect("its end"), 0);
    }
}
