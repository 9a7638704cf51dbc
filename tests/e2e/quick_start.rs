//! `cargo xtask up` and `cargo xtask lab up`, twice, and `down`, as the README shows them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use acp_dev_testkit::process;
use anyhow::{Context as _, Result, ensure};

use crate::world::World;

fn xtask(arguments: &[&str], dir: &Path) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "xtask", "--"]);
    // The lab's own option stands before its verb: what follows `--` is a command's.
    match arguments {
        ["lab", rest @ ..] => command.args(["lab", "--dir"]).arg(dir).args(rest),
        _ => command.args(arguments).arg("--dir").arg(dir),
    };
    let out = command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).output()?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "xtask {} failed: {said}{}",
        arguments.join(" "),
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(said)
}

/// The control groups' folders of the nodes that are there.
fn nodes() -> Result<BTreeSet<String>> {
    let folders = host(&BTreeSet::new())?.into_iter().filter_map(|line| node_in(&line));
    Ok(folders.collect())
}

/// The node's folder that a control group's path goes through.
fn node_in(path: &str) -> Option<String> {
    path.lines().find_map(|line| line.split(['/', ':']).find(|part| part.starts_with("acp-"))).map(str::to_owned)
}

/// Everything on the host that a node might leave, looked at without knowing anything about the node. What other nodes run
/// is left out: they live on meanwhile, and start their DHCP servers anew.
fn host(others: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    seen.extend(mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| format!("mount {point}")));
    for mount in mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4)) {
        let folders = fs::read_dir(mount)?.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        seen.extend(folders.map(|folder| format!("cgroup {}", folder.path().display())));
    }
    let links = fs::read_dir("/sys/class/net")?.filter_map(Result::ok);
    seen.extend(links.map(|link| format!("link {}", link.file_name().display())));
    let tables = Command::new("nft").args(["list", "tables"]).output().context("cannot run nft")?;
    seen.extend(String::from_utf8_lossy(&tables.stdout).lines().map(|table| format!("nft {table}")));
    let names = process::all().into_iter().map(|pid| (pid, process::name(pid)));
    let is_others = |pid: i32| {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        node_in(&groups).is_some_and(|node| others.contains(&node))
    };
    let ours =
        names.filter(|(pid, name)| is_of_a_node(name) && !is_others(*pid) && process::Identity::of(*pid).is_some());
    seen.extend(ours.map(|(pid, name)| format!("process {pid} {name}")));
    Ok(seen)
}

fn is_of_a_node(name: &str) -> bool {
    ["acp-", "qemu-system", "dnsmasq"].iter().any(|start| name.starts_with(start))
}

/// Taken down when dropped, so that a failure leaves nothing for the next run.
struct Directory(PathBuf);

impl Directory {
    /// One that is closed to everybody else, as `mktemp -d` makes them.
    fn closed(name: &str) -> Result<Self> {
        let dir = Self(PathBuf::from(format!("/tmp/acp-{name}-{}", std::process::id())));
        fs::create_dir_all(&dir.0)?;
        fs::set_permissions(&dir.0, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(dir)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let inner = self.0.join("acp");
        if inner.join("node.json").exists() {
            drop(xtask(&["down"], &inner));
        }
        if inner.join("lab.json").exists() {
            drop(xtask(&["lab", "down"], &inner));
        }
        drop(fs::remove_dir_all(&self.0));
    }
}

fn processes(seen: &BTreeSet<String>) -> BTreeSet<String> {
    seen.iter().filter(|line| line.starts_with("process")).cloned().collect()
}

pub(crate) fn up_and_down(world: &World) -> Result<()> {
    let dir = Directory::closed("up")?;
    let node = dir.0.join("acp");
    let others = nodes()?;
    let host = || host(&others);
    let before = host()?;

    let programs = world.bin.to_str().context("the programs' path is no UTF-8")?;
    let up = ["up", "--bin-dir", programs];
    let first = xtask(&up, &node)?;
    ensure!(first.contains("Welcome to ACP: demo is up at 10.77.0."), "no greeting: {first}");
    ensure!(first.contains("<h1>demo</h1>"), "no page: {first}");
    ensure!(
        first.contains("system console demo") && first.contains("ACP_RUN_DIR="),
        "no commands to go on with: {first}"
    );
    ensure!(node.join("run/cluster.sock").exists(), "no socket where it was promised");
    let running = processes(&host()?);
    let second = xtask(&up, &node)?;
    ensure!(second.contains("<h1>demo</h1>"), "the second time there is no page: {second}");
    ensure!(processes(&host()?) == running, "the second time processes changed");

    let down = xtask(&["down"], &node)?;
    ensure!(down.contains("in order"), "it had to be forced: {down}");
    let after = host()?;
    let left: Vec<_> = after.difference(&before).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// How long two nodes may take from nothing to one cluster, as `lab up` itself counts, beside the nodes of the other cases.
const LAB_READY: Duration = Duration::from_secs(30);

pub(crate) fn lab_up_and_down(world: &World) -> Result<()> {
    let dir = Directory::closed("lab-up")?;
    let lab = dir.0.join("acp");
    let others = nodes()?;
    let host = || host(&others);
    let before = host()?;

    let programs = world.bin.to_str().context("the programs' path is no UTF-8")?;
    let up = ["lab", "up", "--nodes", "2", "--bin-dir", programs];
    let first = xtask(&up, &lab)?;
    let took =
        first.lines().find_map(|line| line.strip_prefix("ready after ")?.strip_suffix(" s")?.parse::<f64>().ok());
    let took = took.with_context(|| format!("it does not say how long it took: {first}"))?;
    ensure!(took <= LAB_READY.as_secs_f64(), "it took {took} s: {first}");
    let listed = xtask(&["lab", "exec", "n2", "--", "acpctl", "--node", "n1", "node", "list"], &lab)?;
    ensure!(listed.contains("n1") && listed.contains("n2"), "n1 does not list both: {listed}");
    let running = processes(&host()?);
    let second = xtask(&up, &lab)?;
    ensure!(second.contains("the lab stands: n1 to n2"), "the second time it says {second}");
    ensure!(processes(&host()?) == running, "the second time processes changed");
    xtask(&["lab", "kill", "n2", "--unit", "agent"], &lab)?;
    xtask(&["lab", "kill", "n2"], &lab)?;
    let back = xtask(&["lab", "start", "n2"], &lab)?;
    ensure!(back.contains("back in its cluster"), "n2 was started: {back}");
    xtask(&["lab", "exec", "n1", "--", "acpctl", "--node", "n2", "status"], &lab)?;

    let down = xtask(&["lab", "down", "--purge"], &lab)?;
    ensure!(down.contains("in order"), "it had to be forced: {down}");
    let after = host()?;
    let left: Vec<_> = after.difference(&before).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    ensure!(!lab.exists(), "{} is left", lab.display());
    Ok(())
}
