//! Time that was ours: what the host of a virtual machine takes from its processors is no time in which anything of the
//! node could have happened, and no promise of ours.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Ticks of `/proc/stat` in a second (`USER_HZ`), the same on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;
/// The ninth word of a processor's line: ticks that the host gave to somebody else.
const STOLEN: usize = 8;

/// A point in time from which on is measured.
#[derive(Clone, Debug)]
pub(super) struct Stopwatch {
    at: Instant,
    stolen: Vec<u64>,
}

impl Stopwatch {
    /// Begins now.
    pub(super) fn start() -> Self {
        Self { at: Instant::now(), stolen: stolen() }
    }

    /// The time since then, less what was taken from the processor that lost the most.
    pub(super) fn elapsed(&self) -> Duration {
        let lost = stolen().iter().zip(&self.stolen).map(|(now, then)| now.saturating_sub(*then)).max();
        let lost = Duration::from_millis(lost.unwrap_or_default() * 1_000 / TICKS_PER_SECOND);
        self.at.elapsed().saturating_sub(lost)
    }
}

/// Ticks taken from each processor; nothing where the host does not tell.
fn stolen() -> Vec<u64> {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let processors = stat.lines().filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    processors
        .map(|line| line.split_whitespace().nth(STOLEN).and_then(|ticks| ticks.parse().ok()).unwrap_or(0))
        .collect()
}
