//! S2: kill -9 of what daemons start: QEMU, a shim, dnsmasq, a pool worker.

use std::{fs, thread, time::Duration};

use acp_dev_testkit::{
    cgroup,
    process::{self, Identity},
    wait_for,
};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::outage::{self, BACK_LIMIT, Stopwatch, TOLD_LIMIT, unit};
use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s2_what_ends_is_told_with_its_reason_and_started_by_policy", run: all }];

/// What QEMU may still take once the test tightens its limit; the guest then asks for far more.
const HEADROOM_BYTES: u64 = 16 << 20;
/// How often a system is started again within five minutes.
const RESTARTS_MAX: u32 = 3;

/// The pauses before restarts are the longer part of one half and the boot of a guest that of the other.
fn all(world: &World) -> Result<()> {
    thread::scope(|scope| {
        let policy = scope.spawn(|| restarts_by_policy(world));
        let others = told_apart(world);
        let policy = policy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        policy.and(others)
    })
}

/// A system whose QEMU is killed again and again is started three times and then given up; a person can start it again.
fn restarts_by_policy(world: &World) -> Result<()> {
    let mut subject = outage::started(world, "shot")?;
    for restart in 0..=RESTARTS_MAX {
        let at = outage::signal_all(&[subject.qemu], Signal::KILL)?;
        let told = told_ended(world, "shot", "killed", &at)?;
        ensure!(told["reason"].to_string().contains("signal 9"), "the reason does not say how: {told}");
        if restart < RESTARTS_MAX {
            let killed = subject.qemu;
            world.wait_state("shot", "running", LIMIT).context("what is meant to run is started again")?;
            subject = outage::Subject::of(&world.node, "shot")?;
            ensure!(subject.qemu != killed, "the process that was killed runs");
        }
    }
    let given_up = world.wait_state("shot", "failed", TOLD_LIMIT)?;
    ensure!(given_up["reason"].to_string().contains("after 3 restarts"), "it does not say that it gave up: {given_up}");
    world.start_system("shot").context("a person's start is a new beginning")?;
    world.stop_system("shot")?;
    world.delete("shot")
}

/// Waits until the system is said to have ended this way, which has to be so within a second of its end.
fn told_ended(world: &World, name: &str, exit: &str, at: &Stopwatch) -> Result<Value> {
    let status = wait_for(&format!("the end of {name} by {exit}"), LIMIT, || {
        let status = world.show(name).map_err(|error| format!("{error:#}"))?.status;
        if status["exit"] == exit && status["state"] != "running" { Ok(status) } else { Err(status.to_string()) }
    })?;
    let taken = at.elapsed();
    ensure!(taken <= TOLD_LIMIT, "that {name} ended by {exit} was told after {taken:?}: {status}");
    Ok(status)
}

fn told_apart(world: &World) -> Result<()> {
    let network = world.call("cluster", "acp.cluster.Get", json!({ "kind": "network", "name": "default" }))?;
    let uid = network["object"]["uid"].as_str().context("a network has a uid")?.replace('-', "");
    killed_by_itself(world, &format!("dnsmasq@{uid}"))?;
    killed_by_itself(world, "storage-worker@default")?;
    let subject = outage::started(world, "hungry")?;
    // It got its address from the DHCP server that took the place of the killed one.
    world.wait_greeting("hungry", 1)?;
    out_of_memory(world, subject.qemu)?;
    world.wait_state("hungry", "running", LIMIT)?;
    without_shim(world)?;
    world.stop_system("hungry")?;
    world.delete("hungry")
}

/// The framework says how the unit ended, counts it, and has it back.
fn killed_by_itself(world: &World, name: &str) -> Result<()> {
    let before = unit(world, name)?;
    let killed = world.node.unit_process(name)?;
    let at = outage::signal_all(&[killed], Signal::KILL)?;
    wait_unit(world, name, &at, TOLD_LIMIT, |meta| {
        meta["restarts"].as_u64() == before["restarts"].as_u64().map(|count| count + 1) && meta["exit"]["signal"] == 9
    })?;
    wait_unit(world, name, &at, BACK_LIMIT, |meta| meta["state"] == "ready" && meta["pid"] != killed.pid)
}

fn wait_unit(
    world: &World,
    name: &str,
    since: &Stopwatch,
    limit: Duration,
    is_wanted: impl Fn(&Value) -> bool,
) -> Result<()> {
    wait_for(&format!("unit {name}"), LIMIT, || {
        let meta = unit(world, name).map_err(|error| format!("{error:#}"))?;
        if is_wanted(&meta) { Ok(()) } else { Err(meta.to_string()) }
    })?;
    let taken = since.elapsed();
    ensure!(taken <= limit, "{name} took {taken:?}");
    Ok(())
}

fn out_of_memory(world: &World, qemu: Identity) -> Result<()> {
    tighten(qemu)?;
    let mut terminal = world.terminal("hungry")?;
    terminal.wait_for_text("Welcome to ACP", LIMIT)?;
    terminal.write(b"\rmkdir /m; mount -t tmpfs -o size=240m none /m; dd if=/dev/urandom of=/m/x bs=1M count=200\r")?;
    qemu.wait_gone(LIMIT)?;
    let told = told_ended(world, "hungry", "out_of_memory", &Stopwatch::start())?;
    ensure!(told["reason"].to_string().contains("memory limit"), "the reason does not say so: {told}");
    Ok(())
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

/// A guest whose shim is killed runs on, and that it does so without a log is said; its own end is noticed all the same.
fn without_shim(world: &World) -> Result<()> {
    let subject = outage::Subject::of(&world.node, "hungry")?;
    let shim: i32 = process::status(subject.qemu.pid, "PPid")?.parse()?;
    ensure!(process::name(shim) == "acp-shim", "QEMU's parent is {}", process::name(shim));
    let name = subject.unit("qemu");
    let at = outage::signal_all(&[Identity::of(shim).context("it runs")?], Signal::KILL)?;
    wait_unit(world, &name, &at, TOLD_LIMIT, |meta| meta["reason"].to_string().contains("its shim was lost"))?;
    ensure!(outage::Subject::of(&world.node, "hungry")?.qemu == subject.qemu, "the guest did not outlive its shim");
    let at = outage::signal_all(&[subject.qemu], Signal::KILL)?;
    let told = told_ended(world, "hungry", "killed", &at)?;
    ensure!(told["reason"].to_string().contains("not known"), "how it ended was made up: {told}");
    Ok(())
}
