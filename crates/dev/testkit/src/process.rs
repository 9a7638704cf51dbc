//! Processes as `/proc` shows them.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::wait_for;

/// A process that cannot be mistaken for another one that got its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Identity {
    /// The process with this id, if there is one that has not ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, start) = state_and_start(&stat)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, start })
    }

    /// Whether the process still runs.
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Sends a signal; no error if the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid).context("a process id is positive")?;
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        // The handle holds on to whoever has the number now; only then is it known to be ours.
        if !self.is_alive() {
            return Ok(());
        }
        match pidfd_send_signal(&handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }

    /// Waits until the process has ended.
    pub fn wait_gone(&self, limit: Duration) -> Result<()> {
        wait_for(&format!("the end of process {}", self.pid), limit, || {
            if self.is_alive() { Err(command_line(self.pid)) } else { Ok(()) }
        })
    }
}

/// Fields 3 and 22 of `/proc/PID/stat`; the second, the name in parentheses, may hold anything.
fn state_and_start(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// The words of a process's command line, with spaces between them; empty when it has ended.
pub fn command_line(pid: i32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).split('\0').collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// The name of the program a process runs.
pub fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned()
}

/// A field of `/proc/PID/status`, like `CapEff`.
pub fn status(pid: i32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} is gone"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned()).with_context(|| format!("process {pid} has no {field}"))
}

/// The proportional share of memory of a process in bytes: shared pages are divided among those that map them.
pub fn pss_bytes(pid: i32) -> Result<u64> {
    pss_line(pid, "Pss:")
}

/// That part of it that are pages of files: programs and libraries.
pub fn pss_file_bytes(pid: i32) -> Result<u64> {
    pss_line(pid, "Pss_File:")
}

fn pss_line(pid: i32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no line {name}"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}

/// The processes that a process started and those that these started, and so on.
pub fn descendants(pid: i32) -> Vec<i32> {
    let parent = |child: &i32| status(*child, "PPid").ok().and_then(|parent| parent.parse::<i32>().ok());
    let children = all().into_iter().filter(|child| parent(child) == Some(pid));
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// Every process id there is.
pub fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse() {
        let stat = "42 (a) S b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        assert_eq!(state_and_start(stat), Some(('S', 98765)));
    }

    #[test]
    fn this_process_is_alive_and_another_start_is_not() {
        let pid = i32::try_from(std::process::id()).expect("small");
        let own = Identity::of(pid).expect("alive");
        assert!(own.is_alive());
        assert!(!Identity { start: own.start + 1, ..own }.is_alive());
    }
}
