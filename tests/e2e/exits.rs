//! Why a system stopped, told apart.

use std::fs;

use acp_dev_testkit::{cgroup, process::Identity, terminal::Terminal};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{LIMIT, World};

/// What QEMU may still take once the test tightens its limit; the guest then asks for far more.
const HEADROOM_BYTES: u64 = 16 << 20;

fn started(world: &World, name: &str) -> Result<Identity> {
    world.create(name)?;
    world.start_system(name)?;
    world.wait_greeting(name, 1)?;
    let status = world.wait_state(name, "running", LIMIT)?;
    let pid = i32::try_from(status["pid"].as_i64().context("a running system has a process")?)?;
    Identity::of(pid).context("its process has ended")
}

/// Types a command at the guest's prompt.
fn type_in(world: &World, name: &str, command: &str) -> Result<Terminal> {
    let run_dir = world.node.layout().run();
    let environment = [("ACP_RUN_DIR", run_dir.to_str().unwrap_or_default()), ("TERM", "xterm")];
    let mut terminal = Terminal::run(&world.bin.join("acpctl"), &["system", "console", name], &environment)?;
    terminal.wait_for_text("Welcome to ACP", LIMIT)?;
    terminal.write(format!("\r{command}\r").as_bytes())?;
    Ok(terminal)
}

/// Waits until the system's last end is told as this one and answers what is said of the system.
fn ended(world: &World, name: &str, exit: &str) -> Result<Value> {
    acp_dev_testkit::wait_for(&format!("the end of {name} by {exit}"), LIMIT, || {
        let status = world.show(name).map_err(|error| format!("{error:#}"))?.status;
        if status["exit"] == exit { Ok(status) } else { Err(status.to_string()) }
    })
}

pub(crate) fn guest_poweroff(world: &World) -> Result<()> {
    started(world, "off")?;
    let terminal = type_in(world, "off", "poweroff -f")?;
    ended(world, "off", "guest_poweroff")?;
    drop(terminal);
    world.wait_state("off", "stopped", LIMIT).context("a guest that powers off stays off")?;
    world.delete("off")
}

pub(crate) fn killed(world: &World) -> Result<()> {
    let qemu = started(world, "shot")?;
    qemu.signal(Signal::KILL)?;
    ended(world, "shot", "killed")?;
    let status = world.wait_state("shot", "running", LIMIT).context("what is meant to run is started again")?;
    ensure!(status["pid"] != qemu.pid, "the process that was killed runs: {status}");
    world.stop_system("shot")?;
    world.delete("shot")
}

pub(crate) fn out_of_memory(world: &World) -> Result<()> {
    let qemu = started(world, "hungry")?;
    tighten(qemu)?;
    let terminal = type_in(
        world,
        "hungry",
        "mkdir /m; mount -t tmpfs -o size=240m none /m; dd if=/dev/urandom of=/m/x bs=1M count=200",
    )?;
    ended(world, "hungry", "out_of_memory")?;
    drop(terminal);
    world.stop_system("hungry")?;
    world.delete("hungry")
}

/// Leaves QEMU's cgroup little more memory than it uses now.
fn tighten(qemu: Identity) -> Result<()> {
    let group = cgroup::of_process(qemu.pid, "memory").or_else(|_none| cgroup::of_process(qemu.pid, ""))?;
    let files = [("memory.usage_in_bytes", "memory.limit_in_bytes"), ("memory.current", "memory.max")];
    let (usage, limit) =
        files.into_iter().find(|(usage, _)| group.join(usage).exists()).context("no memory controller")?;
    let used: u64 = fs::read_to_string(group.join(usage))?.trim().parse()?;
    fs::write(group.join(limit), (used + HEADROOM_BYTES).to_string())
        .with_context(|| format!("cannot limit {}", group.display()))
}
