//! What the daemons' processes take.

use std::fs;

use acp_dev_testkit::process::{Identity, status};
use anyhow::{Context as _, Result, ensure};

use crate::world::World;

/// Descriptors that may be open beyond those before: connections of others come and go.
const DESCRIPTORS_SPARE: usize = 16;
/// What `/proc/PID/clear_refs` takes for setting back the peak (`proc(5)`).
const RESET_PEAK: &str = "5";

/// One daemon's figures.
struct Figure {
    noun: &'static str,
    process: Identity,
    resident: u64,
    peak: u64,
    descriptors: usize,
}

/// All daemons' figures at one moment.
pub(super) struct Figures(Vec<Figure>);

impl Figures {
    pub(super) fn take(world: &World, nouns: &[&'static str]) -> Result<Self> {
        let figures = nouns.iter().map(|noun| {
            let process = process(world, noun)?;
            let pid = process.pid;
            Ok(Figure {
                noun,
                process,
                resident: bytes(pid, "VmRSS")?,
                peak: bytes(pid, "VmHWM")?,
                descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
            })
        });
        figures.collect::<Result<_>>().map(Self)
    }

    /// From now on, peaks are those of what follows.
    pub(super) fn forget_peaks(&self) -> Result<()> {
        self.0.iter().try_for_each(|figure| {
            fs::write(format!("/proc/{}/clear_refs", figure.process.pid), RESET_PEAK).context("cannot set back a peak")
        })
    }

    /// Nobody was replaced.
    pub(super) fn check_same_processes(&self, before: &Self) -> Result<()> {
        self.each(before, |now, then| {
            ensure!(now.process == then.process, "{} was replaced", now.noun);
            Ok(())
        })
    }

    /// Nobody ever took much more than before.
    pub(super) fn check_peaks(&self, before: &Self, growth_max: u64) -> Result<()> {
        self.each(before, |now, then| {
            let growth = now.peak.saturating_sub(then.resident);
            eprintln!("    {}: {} KiB, at most {} KiB more", now.noun, then.resident >> 10, growth >> 10);
            ensure!(growth <= growth_max, "{} grew by {growth} bytes, at most {growth_max} are bounded", now.noun);
            Ok(())
        })
    }

    /// What was taken has been given back.
    pub(super) fn check_rest(&self, before: &Self, rest_max: u64) -> Result<()> {
        self.each(before, |now, then| {
            let (noun, rest) = (now.noun, now.resident.saturating_sub(then.resident));
            ensure!(rest <= rest_max, "{noun} still takes {rest} bytes more than before");
            let (open, were) = (now.descriptors, then.descriptors);
            ensure!(open <= were + DESCRIPTORS_SPARE, "{noun} has {open} open files, {were} before");
            Ok(())
        })
    }

    fn each(&self, before: &Self, check: impl Fn(&Figure, &Figure) -> Result<()>) -> Result<()> {
        self.0.iter().zip(&before.0).try_for_each(|(now, then)| check(now, then))
    }
}

/// The framework is no unit of its own; it says itself who it is.
fn process(world: &World, noun: &str) -> Result<Identity> {
    let health = world.call(noun, "acp.daemon.GetHealth", serde_json::json!({}))?;
    let pid = health["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).context("a daemon has a process id")?;
    Identity::of(pid).with_context(|| format!("{noun} has ended"))
}

fn bytes(pid: i32, field: &str) -> Result<u64> {
    let text = status(pid, field)?;
    let kib: u64 = text.trim_end_matches("kB").trim().parse().with_context(|| format!("{field}: {text}"))?;
    Ok(kib << 10)
}
