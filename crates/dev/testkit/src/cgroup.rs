//! The cgroups of a node, in whatever hierarchies this host has.
//!
//! **Invariant**: nothing outside the folder of the given name is touched.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{process::Identity, wait_for};

/// How long killed processes may take to leave their cgroup: the kernel has to free a guest's memory first.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The folder `root` in every hierarchy where it exists.
pub fn folders(root: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|mount| mount.join(root)).filter(|path| path.is_dir()).collect()
}

/// Where cgroup hierarchies are mounted.
fn hierarchies() -> BTreeSet<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = text.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let kind = back.split(' ').next()?;
        let point = front.split(' ').nth(4)?;
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
    });
    mounts.collect()
}

/// A folder and all below it, deepest first.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let children = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut all: Vec<PathBuf> = children.filter(|path| path.is_dir()).flat_map(|path| tree(&path)).collect();
    all.push(folder.to_owned());
    all
}

/// Every process in the node's cgroups, each once.
pub fn processes(root: &str) -> Vec<Identity> {
    let mut pids = BTreeSet::new();
    for folder in folders(root).iter().flat_map(|folder| tree(folder)) {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    pids.into_iter().filter_map(Identity::of).collect()
}

/// Kills every process in the node's cgroups, again until none is left, since they may fork meanwhile.
pub fn kill(root: &str) -> Result<()> {
    wait_for("the end of the processes in the node's cgroups", KILL_LIMIT, || {
        let left = processes(root);
        for process in &left {
            drop(process.signal(Signal::KILL));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
}

/// Removes the node's cgroups, which have no processes any more.
pub fn remove(root: &str) -> Result<()> {
    for folder in folders(root).iter().flat_map(|folder| tree(folder)) {
        // A cgroup stays busy for a moment after its last process is gone.
        wait_for(&format!("the removal of {}", folder.display()), KILL_LIMIT, || match fs::remove_dir(&folder) {
            Err(error) if folder.exists() => Err(error),
            _removed => Ok(()),
        })?;
    }
    Ok(())
}

/// The folder of a process in the hierarchy that has `controller` (for the unified one: an empty text).
pub fn of_process(pid: i32, controller: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).with_context(|| format!("process {pid} is gone"))?;
    let path = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let names = fields.next()?;
        names.split(',').any(|name| name == controller).then(|| fields.next().map(str::to_owned))?
    };
    let own = text.lines().find_map(path).with_context(|| format!("process {pid} has no {controller} cgroup"))?;
    let own = own.trim_start_matches('/').to_owned();
    let found = hierarchies().into_iter().map(|mount| mount.join(&own)).find(|folder| {
        let members = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        let file = if controller.is_empty() { "cgroup.events".to_owned() } else { format!("{controller}.stat") };
        members.lines().any(|line| line == pid.to_string()) && folder.join(file).exists()
    });
    found.with_context(|| format!("the {controller} cgroup {own} of process {pid} is not mounted"))
}
