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

use crate::{
    process::{self, Identity},
    wait_for,
};

/// How long killed processes may take to leave their cgroup: the kernel has to free a guest's memory first.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// The group below a node's folder in which the framework itself lives. Where v2 is the only hierarchy, processes that stood
/// in the way of giving controllers on (a group with processes cannot) have been moved there, too: they are not the node's.
const SHELTER: &str = "framework";
/// How our own programs' names begin; what else is in the shelter is a stranger.
const OURS: &str = "acp-";
/// How deep below its mount a v2 hierarchy is searched: init systems nest sessions four or five levels deep.
const DEPTH_MAX: usize = 8;

/// The node's folder in every hierarchy where it exists.
pub fn folders(root: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().filter_map(|mount| find(&mount, root, DEPTH_MAX)).collect()
}

/// The folder of that name nearest to the top.
fn find(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let here = folder.join(name);
    if here.is_dir() {
        return Some(here);
    }
    if depth == 0 {
        return None;
    }
    children(folder).into_iter().find_map(|child| find(&child, name, depth - 1))
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
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
    let mut all: Vec<PathBuf> = children(folder).iter().flat_map(|child| tree(child)).collect();
    all.push(folder.to_owned());
    all
}

fn members(group: &Path) -> Vec<i32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn is_stranger(group: &Path, pid: i32) -> bool {
    group.ends_with(SHELTER) && !process::name(pid).starts_with(OURS)
}

/// Every process of the node, each once.
pub fn processes(root: &str) -> Vec<Identity> {
    let mut pids = BTreeSet::new();
    for group in folders(root).iter().flat_map(|folder| tree(folder)) {
        pids.extend(members(&group).into_iter().filter(|pid| !is_stranger(&group, *pid)));
    }
    pids.into_iter().filter_map(Identity::of).collect()
}

/// Moves processes that are not the node's back to where they came from: the group above the node's folder.
fn release_strangers(folder: &Path) -> Result<()> {
    let shelter = folder.join(SHELTER);
    let strangers: Vec<i32> = members(&shelter).into_iter().filter(|pid| is_stranger(&shelter, *pid)).collect();
    if strangers.is_empty() {
        return Ok(());
    }
    let above = folder.parent().context("a node's folder lies below a hierarchy's top")?;
    for group in [folder, above] {
        let given = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
        let taken: Vec<String> = given.split_whitespace().map(|controller| format!("-{controller}")).collect();
        // A group that gives controllers on takes no processes.
        fs::write(group.join("cgroup.subtree_control"), taken.join(" "))
            .with_context(|| format!("cannot take controllers back in {}", group.display()))?;
    }
    for pid in strangers.into_iter().filter(|pid| Identity::of(*pid).is_some()) {
        fs::write(above.join("cgroup.procs"), pid.to_string())
            .with_context(|| format!("cannot move process {pid} back to {}", above.display()))?;
    }
    Ok(())
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
    let folders = folders(root);
    folders.iter().try_for_each(|folder| release_strangers(folder))?;
    for folder in folders.iter().flat_map(|folder| tree(folder)) {
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
        let file = if controller.is_empty() { "cgroup.events".to_owned() } else { format!("{controller}.stat") };
        members(folder).contains(&pid) && folder.join(file).exists()
    });
    found.with_context(|| format!("the {controller} cgroup {own} of process {pid} is not mounted"))
}
