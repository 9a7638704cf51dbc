//! S3: daemons that stand still instead of being dead.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{node::Said, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::outage::{self, BACK_LIMIT, Subject};
use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[
    Case { name: "survive::s3_frozen_daemons_are_replaced_and_callers_get_deadlines", run: daemons },
    Case {
        name: "survive::s3_a_frozen_worker_and_a_frozen_framework_leave_the_others_alone",
        run: worker_and_framework,
    },
];

/// The watchdog of every unit as shipped; the guard's for the framework is shorter.
const WATCHDOG: Duration = Duration::from_secs(15);
/// How long storage waits for a worker to look at its pool.
const SCAN_LIMIT: Duration = Duration::from_secs(10);
/// How long a unit may take to end when it is asked to; one that stands still is killed then, and only then its pool is said
/// to have failed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The time that callers of frozen daemons give, and what they may need beyond it to start and to say so.
const PATIENCE: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(1);
/// How `acpctl` ends when its time is over, and when nobody is there.
const NO_ANSWER: [i32; 2] = [6, 75];

fn daemons(world: &World) -> Result<()> {
    let subject = outage::started(world, "warm")?;
    subject.ask_for_volume()?;
    let daemons = subject.daemons();
    let frozen: Vec<Identity> = daemons.iter().map(|unit| subject.process(unit)).collect::<Result<_>>()?;
    let at = outage::signal_all(&frozen, Signal::STOP)?;
    // Their successors find these calls waiting, and may still do what nobody waits for any more: none of it changes anything.
    let asked: [&[&str]; 5] = [
        &["system", "list"],
        &["volume", "expand", "default/asked", "--size", "4MiB"],
        &["network", "delete", "default", "--yes"],
        &["system", "start", "warm"],
        &["system", "log", "warm"],
    ];
    thread::scope(|scope| {
        let calls = asked.map(|arguments| scope.spawn(move || unheard(world, arguments)));
        calls.into_iter().try_for_each(|call| call.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    for (unit, frozen) in daemons.iter().zip(&frozen) {
        outage::wait_works(&subject, unit, *frozen, WATCHDOG * 2)?;
    }
    ensure!(at.elapsed() <= WATCHDOG + BACK_LIMIT, "they were replaced after {:?}", at.elapsed());
    for unit in &daemons {
        is_logged(world, unit)?;
    }
    ensure!(Subject::of(&world.node, "warm")?.qemu == subject.qemu, "the guest did not outlive its daemons");
    subject.forget_volume()?;
    world.stop_system("warm")?;
    world.delete("warm")
}

/// A call to who does not answer ends in its time and says so.
fn unheard(world: &World, arguments: &[&str]) -> Result<()> {
    let (said, taken) = timed(world, arguments)?;
    ensure!(NO_ANSWER.contains(&said.status), "acpctl {arguments:?} ended with {}: {}", said.status, said.stderr);
    ensure!(taken <= PATIENCE + GRACE, "acpctl {arguments:?} took {taken:?}");
    Ok(())
}

/// Runs `acpctl` with little patience; answers how it ended and after how long.
fn timed(world: &World, arguments: &[&str]) -> Result<(Said, Duration)> {
    let started = Instant::now();
    let patience = format!("{}s", PATIENCE.as_secs());
    let said = world.node.acpctl(&[&["--timeout", &patience], arguments].concat())?;
    Ok((said, started.elapsed()))
}

/// The framework's log names the unit and its silence.
fn is_logged(world: &World, unit: &str) -> Result<()> {
    let log = fs::read_to_string(world.node.layout().log().join("framework.log"))?;
    let line = log.lines().find(|line| line.contains(&format!("\"{unit}\"")) && line.contains("gave no sign of life"));
    line.map(drop).with_context(|| format!("the framework did not say that {unit} was silent"))
}

fn worker_and_framework(world: &World) -> Result<()> {
    world.node.run(&["pool", "create", "other"])?;
    let subject = outage::started(world, "warm")?;
    subject.ask_for_volume()?;
    let worker = subject.process("storage-worker@default")?;
    let framework = subject.process("framework")?;
    let at = outage::signal_all(&[worker, framework], Signal::STOP)?;
    unheard(world, &["service", "list"])?;
    unheard(world, &["volume", "expand", "default/asked", "--size", "4MiB"])?;
    for answered in [
        &["volume", "list"][..],
        &["pool", "list"],
        &["system", "show", "warm"],
        &["network", "show", "default"],
        &["volume", "create", "other/x", "--size", "4MiB"],
        &["--yes", "volume", "delete", "other/x"],
    ] {
        let (said, taken) = timed(world, answered)?;
        ensure!(said.status == 0, "acpctl {answered:?} ended with {}: {}", said.status, said.stderr);
        ensure!(taken <= PATIENCE, "acpctl {answered:?} took {taken:?}");
    }
    let reason = wait_pool(world, "failed", &at, SCAN_LIMIT + PATIENCE + BACK_LIMIT + GRACE)?;
    ensure!(reason.contains("did not answer"), "the pool has failed for another reason: {reason}");
    wait_pool(world, "ready", &at, WATCHDOG + SCAN_LIMIT + STOP_LIMIT)?;
    for (unit, frozen) in [("framework", framework), ("storage-worker@default", worker)] {
        outage::wait_works(&subject, unit, frozen, LIMIT)?;
    }
    ensure!(Subject::of(&world.node, "warm")?.qemu == subject.qemu, "the guest did not outlive the framework");
    subject.forget_volume()?;
    world.stop_system("warm")?;
    world.delete("warm")?;
    delete_pool(world)
}

/// Waits until the pool `default` is said to be in this state; answers the reason.
fn wait_pool(world: &World, state: &str, since: &outage::Stopwatch, limit: Duration) -> Result<String> {
    wait_for(&format!("pool default to be {state}"), limit.saturating_sub(since.elapsed()), || {
        let meta = pool(world).map_err(|error| format!("{error:#}"))?;
        if meta["state"] == state { Ok(meta["reason"].to_string()) } else { Err(meta.to_string()) }
    })
}

fn pool(world: &World) -> Result<Value> {
    let reply = world.call("cluster", "acp.cluster.Get", json!({ "kind": "pool", "name": "default" }))?;
    let slots = reply["object"]["slots"].as_array().context("an object has slots")?;
    let meta = slots.iter().find(|slot| slot["facet"] == "meta").map(|slot| slot["data"].clone());
    Ok(meta.unwrap_or_default())
}

/// A pool is ended by its declaration.
fn delete_pool(world: &World) -> Result<()> {
    let reply = world.call("cluster", "acp.cluster.Get", json!({ "kind": "pool", "name": "other" }))?;
    world.call("cluster", "acp.cluster.Delete", json!({ "kind": "pool", "uid": reply["object"]["uid"] })).map(drop)
}
