//! The groups of one unit.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    CgroupError,
    tree::{make, remove},
};

/// How often the members of a group are killed one by one before the caller has to try again: each round ends those that
/// were forked during the round before.
const KILL_ROUNDS: u32 = 16;

/// The period of the processor limit, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The weight of a group that was given none: 100 in v2, which v1 counts as 1,024.
const CPU_WEIGHT_DEFAULT: u32 = 100;
const CPU_SHARES_DEFAULT: u64 = 1024;

/// One hierarchy's folder.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) unified: bool,
    pub(crate) controllers: Vec<&'static str>,
}

impl Place {
    fn has(&self, controller: &str) -> bool {
        self.controllers.contains(&controller)
    }
}

/// Bounds of a group; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// Share of processors that are wanted by more than one group, beside its siblings: 1 to 10,000; `None`: 100.
    pub cpu_weight: Option<u32>,
    /// Processes and threads.
    pub tasks: Option<u32>,
}

/// What a group uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the group was made.
    pub cpu: Duration,
    /// Memory in bytes.
    pub memory_bytes: u64,
}

/// The groups of one unit, one in each hierarchy in use.
#[derive(Clone, Debug)]
pub struct Group {
    places: Vec<Place>,
}

impl Group {
    pub(crate) fn new(places: Vec<Place>) -> Self {
        Self { places }
    }

    /// Makes the folders; those that exist stay.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn create(&self) -> Result<(), CgroupError> {
        self.places.iter().try_for_each(|place| make(&place.folder))
    }

    /// The folders, for a process to enter by writing 0 to `cgroup.procs` in each.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.places.iter().map(|place| place.folder.clone()).collect()
    }

    /// Sets every limit. A limit whose controller the host lacks is not enforced; see [`crate::Layout::controllers`].
    ///
    /// # Errors
    /// When the kernel refuses, for example a memory limit below what is in use.
    pub fn limit(&self, limits: &Limits) -> Result<(), CgroupError> {
        for place in &self.places {
            for (file, value) in settings(place, limits) {
                write(&place.folder.join(file), "set", &value)?;
            }
        }
        Ok(())
    }

    /// What the group uses now; what the host does not measure is zero.
    pub fn usage(&self) -> Usage {
        Usage { cpu: self.cpu().unwrap_or_default(), memory_bytes: self.memory().unwrap_or_default() }
    }

    fn cpu(&self) -> Option<Duration> {
        // v2 counts processor time in every group, also where the controller is elsewhere.
        let unified = self.places.iter().find(|place| place.unified);
        let counted =
            unified.and_then(|place| keyed(&place.folder.join("cpu.stat"), "usage_usec")).map(Duration::from_micros);
        counted.or_else(|| {
            let place = self.places.iter().find(|place| place.has("cpuacct"))?;
            number(&place.folder.join("cpuacct.usage")).map(Duration::from_nanos)
        })
    }

    fn memory(&self) -> Option<u64> {
        let place = self.places.iter().find(|place| place.has("memory"))?;
        number(&place.folder.join(if place.unified { "memory.current" } else { "memory.usage_in_bytes" }))
    }

    /// How many processes of the group the kernel killed because of its memory limit, since the group was made.
    pub fn oom_kills(&self) -> u64 {
        let place = self.places.iter().find(|place| place.has("memory"));
        let file = |place: &Place| if place.unified { "memory.events" } else { "memory.oom_control" };
        place.and_then(|place| keyed(&place.folder.join(file(place)), "oom_kill")).unwrap_or(0)
    }

    /// The processes in the group.
    pub fn processes(&self) -> Vec<u32> {
        let all: BTreeSet<u32> = self.places.iter().flat_map(|place| processes_in(&place.folder)).collect();
        all.into_iter().collect()
    }

    /// Kills every process in the group: at once where the kernel can, else one by one until none is found. Killed processes
    /// may take a moment to leave.
    pub fn kill(&self) {
        let at_once = self.places.iter().filter(|place| place.unified);
        if at_once.map(|place| place.folder.join("cgroup.kill")).any(|file| fs::write(file, "1").is_ok()) {
            return;
        }
        for _round in 0..KILL_ROUNDS {
            let members = self.processes();
            if members.is_empty() {
                return;
            }
            for pid in members.into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                if let Err(error) = kill_process(pid, Signal::KILL) {
                    tracing::trace!(pid = pid.as_raw_nonzero().get(), %error, "had ended");
                }
            }
        }
    }

    /// Removes the folders; those that are gone already are no error.
    ///
    /// # Errors
    /// When a process is still in one.
    pub fn remove(&self) -> Result<(), CgroupError> {
        self.places.iter().try_for_each(|place| remove(&place.folder))
    }
}

/// The files of one hierarchy and what is written into them for the limits.
fn settings(place: &Place, limits: &Limits) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    if place.has("memory") {
        let (file, unlimited) = if place.unified { ("memory.max", "max") } else { ("memory.limit_in_bytes", "-1") };
        settings.push((file, limits.memory_bytes.map_or(unlimited.to_owned(), |bytes| bytes.to_string())));
    }
    if place.has("cpu") {
        let quota = limits.cpu_percent.map(|percent| u64::from(percent) * CPU_PERIOD_US / 100);
        let weight = limits.cpu_weight.unwrap_or(CPU_WEIGHT_DEFAULT);
        if place.unified {
            settings.push(("cpu.weight", weight.to_string()));
            settings
                .push(("cpu.max", format!("{} {CPU_PERIOD_US}", quota.map_or("max".to_owned(), |us| us.to_string()))));
        } else {
            let shares = u64::from(weight) * CPU_SHARES_DEFAULT / u64::from(CPU_WEIGHT_DEFAULT);
            settings.push(("cpu.shares", shares.to_string()));
            settings.push(("cpu.cfs_quota_us", quota.map_or("-1".to_owned(), |us| us.to_string())));
        }
    }
    if place.has("pids") {
        settings.push(("pids.max", limits.tasks.map_or("max".to_owned(), |tasks| tasks.to_string())));
    }
    settings
}

pub(crate) fn write(path: &Path, action: &'static str, value: &str) -> Result<(), CgroupError> {
    fs::write(path, value).map_err(CgroupError::access(action, path))
}

pub(crate) fn processes_in(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind `key` in a file of `key number` lines.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(unified: bool, controllers: &[&'static str]) -> Place {
        Place { folder: PathBuf::new(), unified, controllers: controllers.to_vec() }
    }

    #[test]
    fn limits_are_written_as_each_version_wants_them() {
        let limits =
            Limits { memory_bytes: Some(1 << 20), cpu_percent: Some(150), cpu_weight: Some(50), tasks: Some(10) };
        let all = ["memory", "cpu", "cpuacct", "pids"];
        let v1 = settings(&place(false, &all), &limits);
        assert_eq!(
            v1,
            [
                ("memory.limit_in_bytes", "1048576".into()),
                ("cpu.shares", "512".into()),
                ("cpu.cfs_quota_us", "150000".into()),
                ("pids.max", "10".into())
            ]
        );
        let v2 = settings(&place(true, &all), &limits);
        assert_eq!(
            v2,
            [
                ("memory.max", "1048576".into()),
                ("cpu.weight", "50".into()),
                ("cpu.max", "150000 100000".into()),
                ("pids.max", "10".into())
            ]
        );
        let unlimited = settings(&place(true, &all), &Limits::default());
        assert_eq!(
            unlimited,
            [
                ("memory.max", "max".into()),
                ("cpu.weight", "100".into()),
                ("cpu.max", "max 100000".into()),
                ("pids.max", "max".into())
            ]
        );
        assert_eq!(settings(&place(true, &[]), &limits), [], "a hierarchy for tracking alone has no limits");
    }
}
