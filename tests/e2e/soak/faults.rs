//! What is broken, one thing after the other, each waited for until the node has mended it.

use std::{
    fs,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use acp_dev_testkit::{node, process as proc, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{conductor::Soak, failpoints, look, random::Random, witness};
use crate::world::{LIMIT, World};

/// Daemons with a socket of their own that the framework starts with itself.
pub(super) const DAEMONS: [&str; 7] = ["cluster", "storage", "network", "hypervisor", "hub", "agent", "api"];
/// How long a daemon is frozen that is to thaw again: shorter than its watchdog.
const FREEZE_MS_MAX: u64 = 3_000;
/// How long a watchdog may take to notice and to replace a frozen daemon: it barks after 15 s.
const WATCHDOG_LIMIT: Duration = Duration::from_secs(40);
/// How long a pool stays full.
const FULL: Duration = Duration::from_secs(2);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    KillDaemon,
    KillWorker,
    KillVmm,
    KillQemu,
    KillShim,
    KillDnsmasq,
    KillFramework,
    KillDaemons,
    LosePower,
    Freeze,
    FreezeForGood,
    RemoveBridge,
    FlushFilter,
    RemoveLease,
    FillPool,
    Failpoint,
}

/// How often each is chosen, of the sum of all.
const WEIGHTS: [(u64, Fault); 16] = [
    (24, Fault::KillDaemon),
    (6, Fault::KillWorker),
    (8, Fault::KillVmm),
    (6, Fault::KillQemu),
    (4, Fault::KillShim),
    (4, Fault::KillDnsmasq),
    (8, Fault::KillFramework),
    (6, Fault::KillDaemons),
    (3, Fault::LosePower),
    (10, Fault::Freeze),
    (1, Fault::FreezeForGood),
    (4, Fault::RemoveBridge),
    (3, Fault::FlushFilter),
    (4, Fault::RemoveLease),
    (4, Fault::FillPool),
    (12, Fault::Failpoint),
];

impl Fault {
    /// The next one; failpoints only where the programs have them.
    pub(super) fn draw(random: &mut Random, has_failpoints: bool) -> Self {
        let possible: Vec<(u64, Self)> =
            WEIGHTS.into_iter().filter(|(_, fault)| has_failpoints || *fault != Self::Failpoint).collect();
        random.weighed(&possible).unwrap_or(Self::KillDaemon)
    }

    /// Does it and waits until the node is whole again; answers what was hit, or nothing if there was nothing to hit.
    pub(super) fn strike(self, soak: &Soak<'_>, random: &mut Random) -> Result<Option<String>> {
        let world = soak.world;
        match self {
            Self::KillDaemon => kill_unit(world, random.pick(&DAEMONS).context("there are daemons")?).map(Some),
            Self::KillWorker => kill_one(world, "storage-worker@", random),
            Self::KillVmm => kill_one(world, "vmm@", random),
            Self::KillDnsmasq => kill_one(world, "dnsmasq@", random),
            Self::KillQemu => kill_qemu(soak, random),
            Self::KillShim => kill_shim(world, random),
            Self::KillFramework => kill_framework(world).map(Some),
            Self::KillDaemons => kill_daemons(world).map(Some),
            Self::LosePower => lose_power(soak).map(Some),
            Self::Freeze => freeze(soak, random).map(Some),
            Self::FreezeForGood => freeze_for_good(world, random).map(Some),
            Self::RemoveBridge => remove_bridge(world).map(Some),
            Self::FlushFilter => flush_filter(world).map(Some),
            Self::RemoveLease => remove_lease(world, random),
            Self::FillPool => fill_pool(soak).map(Some),
            Self::Failpoint => failpoints::arm(world, random),
        }
    }
}

fn meta(world: &World, unit: &str) -> Result<Value> {
    let mut reply = world.call("framework", "acp.framework.GetUnit", json!({ "name": unit }))?;
    Ok(reply["unit"]["meta"].take())
}

/// Waits until the unit is ready with another process; a unit that was ended meanwhile needs none.
fn wait_replaced(world: &World, unit: &str, before: Identity, limit: Duration) -> Result<()> {
    wait_for(&format!("another process of {unit}"), limit, || match meta(world, unit) {
        Ok(meta) if meta["state"] == "ready" && meta["pid"] != json!(before.pid) => Ok(()),
        Ok(meta) => Err(meta.to_string()),
        Err(error) if unit.contains('@') && format!("{error:#}").contains("NotFound") => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    })
}

/// The process of a unit; one that an earlier fault has ended is waited for.
fn process(world: &World, unit: &str) -> Result<Identity> {
    patiently(&format!("a process of {unit}"), || world.node.unit_process(unit))
}

fn kill_unit(world: &World, unit: &str) -> Result<String> {
    let process = process(world, unit)?;
    process.signal(Signal::KILL)?;
    wait_replaced(world, unit, process, LIMIT)?;
    Ok(unit.to_owned())
}

/// The units with a process whose names begin like this.
fn units(world: &World, prefix: &str) -> Result<Vec<(String, Identity)>> {
    let listed = patiently("the list of units", || world.units())?;
    let units = listed.into_iter().filter_map(|unit| {
        let name = unit["name"].as_str().filter(|name| name.starts_with(prefix))?.to_owned();
        let pid = i32::try_from(unit["meta"]["pid"].as_i64()?).ok()?;
        Some((name, Identity::of(pid)?))
    });
    Ok(units.collect())
}

/// Kills the process of a unit that may be ended by its owner at any moment.
fn kill_one(world: &World, prefix: &str, random: &mut Random) -> Result<Option<String>> {
    let units = units(world, prefix)?;
    let Some((unit, process)) = random.pick(&units) else { return Ok(None) };
    process.signal(Signal::KILL)?;
    wait_replaced(world, unit, *process, LIMIT)?;
    Ok(Some(unit.clone()))
}

/// The systems that run, the witness aside, with the names of their units.
fn guests(world: &World) -> Result<Vec<(String, String)>> {
    let systems = patiently("the list of objects", || look::objects(world.node.layout()))?
        .into_iter()
        .filter(|seen| seen.kind == "system" && seen.name != witness::NAME);
    let running = systems.filter(|seen| seen.state() == "running");
    Ok(running.map(|seen| (format!("qemu@{}", seen.simple()), seen.name)).collect())
}

fn kill_qemu(soak: &Soak<'_>, random: &mut Random) -> Result<Option<String>> {
    let guests = guests(soak.world)?;
    let Some((unit, name)) = random.pick(&guests) else { return Ok(None) };
    soak.hurt(name);
    let Ok(process) = soak.world.node.unit_process(unit) else { return Ok(None) };
    process.signal(Signal::KILL)?;
    process.wait_gone(LIMIT)?;
    Ok(Some(name.clone()))
}

/// Kills the shim of a daemon; the unit must run on, and gets a shim again by a restart.
fn kill_shim(world: &World, random: &mut Random) -> Result<Option<String>> {
    let unit = *random.pick(&DAEMONS).context("there are daemons")?;
    let process = process(world, unit)?;
    let parent = proc::status(process.pid, "PPid")?.parse()?;
    ensure!(proc::name(parent).starts_with("acp-shim"), "the parent of {unit} is {:?}", proc::name(parent));
    let shim = Identity::of(parent).context("the shim has ended")?;
    shim.signal(Signal::KILL)?;
    shim.wait_gone(LIMIT)?;
    wait_for(&format!("the loss of the shim of {unit} to be told"), LIMIT, || match meta(world, unit) {
        Ok(meta) if meta["pid"] == json!(process.pid) && meta["reason"] == "" => Err(meta.to_string()),
        Ok(_told_or_replaced) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    })?;
    patiently("a restart", || world.node.run(&["service", "restart", unit]))?;
    Ok(Some(unit.to_owned()))
}

fn framework(world: &World) -> Result<Identity> {
    patiently("the framework", || {
        let health = world.call("framework", "acp.daemon.GetHealth", json!({}))?;
        let pid = i32::try_from(health["pid"].as_i64().context("a pid")?)?;
        Identity::of(pid).context("the framework has ended")
    })
}

/// Asks until there is an answer: a fault before, or a failpoint that was armed long ago, may have ended whoever is asked.
fn patiently<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    wait_for(what, LIMIT, || ask().map_err(|error| format!("{error:#}")))
}

fn kill_framework(world: &World) -> Result<String> {
    let before = framework(world)?;
    before.signal(Signal::KILL)?;
    before.wait_gone(LIMIT)?;
    framework(world)?;
    Ok("framework".to_owned())
}

/// All daemons, the framework and the pools' workers at once; guests and what serves them run on.
fn kill_daemons(world: &World) -> Result<String> {
    let mut hit: Vec<(String, Identity)> =
        DAEMONS.iter().map(|unit| Ok(((*unit).to_owned(), process(world, unit)?))).collect::<Result<_>>()?;
    hit.extend(units(world, "storage-worker@")?);
    let framework = framework(world)?;
    framework.signal(Signal::KILL)?;
    hit.iter().try_for_each(|(_, process)| process.signal(Signal::KILL))?;
    framework.wait_gone(LIMIT)?;
    hit.iter().try_for_each(|(unit, process)| wait_replaced(world, unit, *process, LIMIT))?;
    Ok("framework, daemons and workers".to_owned())
}

fn lose_power(soak: &Soak<'_>) -> Result<String> {
    soak.witness.excuse();
    let running = guests(soak.world)?;
    soak.shared.is_away.store(true, Ordering::SeqCst);
    soak.world.node.kill_everything()?;
    running.iter().for_each(|(_, name)| soak.hurt(name));
    // What was on its way to running is hurt, too.
    soak.hurt_all();
    soak.world.node.boot()?;
    // What was armed before and not reached is not meant for the witness.
    failpoints::disarm(soak.world)?;
    // Emulated guests that start at once would take each other's processors for longer than anybody waits.
    soak.witness.start(soak.world)?;
    soak.shared.is_away.store(false, Ordering::SeqCst);
    Ok("everything".to_owned())
}

fn freeze(soak: &Soak<'_>, random: &mut Random) -> Result<String> {
    let unit = *random.pick(&DAEMONS).context("there are daemons")?;
    let process = process(soak.world, unit)?;
    process.signal(Signal::STOP)?;
    let time = Duration::from_millis(random.below(FREEZE_MS_MAX));
    soak.shared.stop.wait_for_end(time);
    process.signal(Signal::CONT)?;
    Ok(format!("{unit} for {time:?}"))
}

fn freeze_for_good(world: &World, random: &mut Random) -> Result<String> {
    let unit = *random.pick(&DAEMONS).context("there are daemons")?;
    let process = process(world, unit)?;
    process.signal(Signal::STOP)?;
    wait_replaced(world, unit, process, WATCHDOG_LIMIT)?;
    Ok(unit.to_owned())
}

/// Runs a program in the node's network namespace.
fn in_namespace(world: &World, program: &str, words: &[&str]) -> Result<String> {
    let run = || {
        let out = std::process::Command::new(program).args(words).output().with_context(|| program.to_owned())?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        ensure!(out.status.success(), "{program} {}: {said}", words.join(" "));
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    world.node.layout().namespace().run(run)
}

fn network(world: &World, name: &str) -> Result<look::Seen> {
    let objects = patiently("the list of objects", || look::objects(world.node.layout()))?;
    let found = objects.into_iter().find(|seen| seen.kind == "network" && seen.name == name);
    found.with_context(|| format!("the network {name} is lost"))
}

fn remove_bridge(world: &World) -> Result<String> {
    let before = network(world, "default")?.status;
    let link = before["link"].as_str().context("a network without link")?.to_owned();
    let index = |world: &World| in_namespace(world, "ip", &["-oneline", "link", "show", &link]);
    let old = index(world)?;
    in_namespace(world, "ip", &["link", "delete", &link])?;
    wait_for("another bridge", LIMIT, || match index(world) {
        Ok(new) if new.split(':').next() != old.split(':').next() => Ok(()),
        Ok(new) => Err(new),
        Err(error) => Err(format!("{error:#}")),
    })?;
    Ok(link)
}

fn flush_filter(world: &World) -> Result<String> {
    in_namespace(world, "nft", &["delete", "table", "inet", "acp"])?;
    wait_for("another table", LIMIT, || {
        in_namespace(world, "nft", &["list", "table", "inet", "acp"]).map_err(|error| format!("{error:#}"))
    })?;
    Ok("inet acp".to_owned())
}

/// Removes the file by which the DHCP server knows a guest.
fn remove_lease(world: &World, random: &mut Random) -> Result<Option<String>> {
    let directory = world.node.layout().state().join("network/dhcp").join(network(world, "default")?.simple());
    let files: Vec<String> = look::names(&directory).into_iter().collect();
    let Some(name) = random.pick(&files) else { return Ok(None) };
    let file = directory.join(name);
    // Its system may be deleted at any moment; then it stays away.
    if fs::remove_file(&file).is_err() {
        return Ok(None);
    }
    let mac = name.replace('-', ":");
    wait_for(&format!("the file {} again", file.display()), LIMIT, || {
        let objects = look::objects(world.node.layout()).map_err(|error| format!("{error:#}"))?;
        let is_used = objects.iter().any(|seen| seen.kind == "system" && seen.spec.to_string().contains(&mac));
        if file.exists() || !is_used { Ok(()) } else { Err("it is missing".to_owned()) }
    })?;
    Ok(Some(name.clone()))
}

fn fill_pool(soak: &Soak<'_>) -> Result<String> {
    soak.tight.fill()?;
    soak.shared.stop.wait_for_end(FULL);
    soak.tight.empty()?;
    Ok(super::tight::POOL.to_owned())
}

/// Waits until every unit answers.
pub(super) fn wait_ready(world: &World) -> Result<Duration> {
    let began = Instant::now();
    node::wait_ready(world.node.layout())?;
    Ok(began.elapsed())
}
