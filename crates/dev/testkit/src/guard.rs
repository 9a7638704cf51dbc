//! Starting a node's guard and taking a node down.
//!
//! The guard keeps the framework running and stands for the distribution's init. It is started in the node's network
//! namespace and outlives whoever started it.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::{
    Layout, cgroup, devices, leftovers,
    namespace::on_thread,
    process::{self, Identity},
    record::Record,
    view, wait_for,
};

/// How long a node may take to stop by itself: the framework gives each unit ten seconds, in four stages.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long a process may take to end after it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How a node is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The node's name.
    pub node: String,
    /// Whether it uses the host's network instead of a namespace of its own.
    pub host_network: bool,
}

/// Starts the node's guard unless it runs; answers whether it was started now. The units of a guard that was killed run on,
/// and the framework of the new one adopts them: this is what an init does when it starts a service that died again.
pub fn ensure(layout: &Layout, options: &Options) -> Result<bool> {
    if let Some(record) = Record::load(layout)? {
        let is_guarded = record.guard.is_alive();
        let runs = is_guarded || !cgroup::processes(&layout.name()).is_empty();
        if runs && record.host_network != options.host_network {
            let present = if record.host_network { "the host's network" } else { "a network namespace of its own" };
            bail!("the node in {} runs in {present}; take it down first", layout.dir().display());
        }
        if is_guarded {
            return Ok(false);
        }
    }
    layout.prepare()?;
    configure(layout, options)?;
    if !options.host_network {
        layout.namespace().ensure()?;
    }
    let guard = spawn(layout, options)?;
    Record { guard, host_network: options.host_network }.save(layout)?;
    Ok(true)
}

/// Writes the framework's configuration: everything a node needs to know that is not its own default.
fn configure(layout: &Layout, options: &Options) -> Result<()> {
    let path = layout.etc().join("framework.toml");
    let (node, root) = (&options.node, layout.name());
    let text =
        format!("# Written anew whenever the node is started.\nnode_name = \"{node}\"\ncgroup_root = \"{root}\"\n");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn spawn(layout: &Layout, options: &Options) -> Result<Identity> {
    let start = || {
        view::open_for_all(&[layout.dir(), layout.bin()])?;
        let mut command = command(layout, options)?;
        let child = command.spawn().context("cannot start the guard")?;
        let pid = i32::try_from(child.id()).context("a process id fits")?;
        Identity::of(pid).context("the guard ended at once; see its log")
    };
    if options.host_network { on_thread(start) } else { layout.namespace().run(start) }
}

/// The guard: `acp-shim` in the mode that starts its program again whenever it ends.
fn command(layout: &Layout, options: &Options) -> Result<Command> {
    let log = fs::File::options().create(true).append(true).open(layout.log().join("guard.log"))?;
    let mut command = Command::new("setsid");
    command.arg(layout.bin().join("acp-shim")).arg("respawn").arg("--log").arg(layout.log().join("framework.log"));
    command.arg("--notify").arg(layout.run().join("guard-notify"));
    command.arg("--").arg(layout.bin().join("acp-framework"));
    command.arg("--run-dir").arg(layout.run()).arg("--state-dir").arg(layout.state());
    command.arg("--log-dir").arg(layout.log()).arg("--config-dir").arg(layout.etc());
    command.arg("--bin-dir").arg(layout.bin()).arg("--node").arg(&options.node);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("ACP_RUN_DIR", layout.run()).current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// Takes the node down; answers what had to be done by force. Its state stays. Nothing happens if there is none.
pub fn take_down(layout: &Layout) -> Result<Vec<String>> {
    let record = Record::load(layout)?;
    let mut forced = Vec::new();
    if let Some(record) = record.as_ref().filter(|record| record.guard.is_alive()) {
        record.guard.signal(Signal::TERM)?;
        if record.guard.wait_gone(STOP_LIMIT).is_err() {
            forced.push(format!("the guard {} did not end within {} s", record.guard.pid, STOP_LIMIT.as_secs()));
            record.guard.signal(Signal::KILL)?;
            record.guard.wait_gone(KILL_LIMIT)?;
        }
    }
    for process in cgroup::processes(&layout.name()) {
        forced.push(format!("killed {} {}", process.pid, process::command_line(process.pid)));
    }
    cgroup::kill(&layout.name())?;
    cgroup::remove(&layout.name())?;
    devices::restore(layout)?;
    layout.namespace().remove()?;
    if record.is_some_and(|record| record.host_network) {
        clean_host_network()?;
    }
    layout.remove_run()?;
    Record::remove(layout)?;
    Ok(forced)
}

/// Takes the node down and fails if anything of it is left.
pub fn take_down_and_verify(layout: &Layout) -> Result<Vec<String>> {
    let host_network = Record::load(layout)?.is_some_and(|record| record.host_network);
    let forced = take_down(layout)?;
    wait_for("the node to be gone", KILL_LIMIT, || {
        let left = leftovers::find(layout, host_network).map_err(|error| format!("{error:#}"))?;
        if left.is_empty() { Ok(()) } else { Err(left.join("; ")) }
    })?;
    Ok(forced)
}

/// Removes links and table of ACP from the host's network, should the node have left them.
fn clean_host_network() -> Result<()> {
    let run = |program: &str, arguments: &[&str]| -> Result<()> {
        let out = Command::new(program).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
        if out.status.success() {
            Ok(())
        } else {
            bail!("{program}: {}", String::from_utf8_lossy(&out.stderr).trim_end())
        }
    };
    for link in leftovers::links()? {
        run("ip", &["link", "delete", &link])?;
    }
    if leftovers::has_table() {
        run("nft", &["delete", "table", "inet", "acp"])?;
    }
    Ok(())
}
