//! S8: many systems by many clients at once.
//!
//! Half of the clients are programs (`acpctl`), half speak to the sockets. Memory ends early on purpose: most systems are
//! declared with more of it than any host has, so that their starts are refused; the others run.

mod client;
mod inventory;

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use acp_dev_testkit::{
    process::{self, Identity},
    wait_for,
};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use self::{
    client::{Client, done, text, together},
    inventory::Inventory,
};
use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s8_two_hundred_systems_by_eight_clients_at_once", run: many_at_once }];

const CLIENTS: usize = 8;
const SYSTEMS: usize = 200;
/// One system in so many gets [`SMALL_BYTES`] and runs: sixteen emulated guests are what two cores boot in a few seconds.
const RUNS_EVERY: usize = SYSTEMS / 16 + 1;
/// The least memory that a guest can be given: it need not come up.
const SMALL_BYTES: u64 = 32 << 20;
/// More than any host has.
const HUGE_BYTES: u64 = 4 << 40;
/// Names that every client tries to take at the same moment.
const RACES: usize = 5;
/// How long everything may take, with debug programs on two cores that do nothing else.
const WHOLE_LIMIT: Duration = Duration::from_secs(60);
/// How much larger a daemon may be afterwards: two hundred systems, their jobs and what an allocator keeps of them.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// Ended jobs that a service remembers (`ENDED_MAX` of its jobs).
const JOBS_MAX: usize = 256;
/// The network of the systems: more addresses than systems.
const NETWORK: &str = "many";
/// The daemons whose size is looked at.
const DAEMONS: [&str; 5] = ["cluster", "storage", "storage-worker@default", "network", "hypervisor"];

fn name(number: usize) -> String {
    format!("many-{number}")
}

fn runs(number: usize) -> bool {
    number.is_multiple_of(RUNS_EVERY)
}

/// As [`together`], each of the systems once, taken by whichever client is free.
fn each_system(world: &World, work: impl Fn(&Client<'_>, usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    together(world, |client, _number| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= SYSTEMS {
                return Ok(());
            }
            work(client, number)?;
        }
    })
}

fn sizes(world: &World) -> Result<Vec<(&'static str, Identity, u64)>> {
    let size = |unit: &'static str| -> Result<_> {
        let process = world.node.unit_process(unit)?;
        Ok((unit, process, process::pss_bytes(process.pid)?))
    };
    DAEMONS.into_iter().map(size).collect()
}

fn many_at_once(world: &World) -> Result<()> {
    world.node.run(&["network", "create", NETWORK, "--address", "10.88.0.1/22"])?;
    let (before, sizes_before, started) = (Inventory::take(world)?, sizes(world)?, Instant::now());
    let mut laps = Vec::new();
    let mut lap = |what: &str| laps.push(format!("{what} {:.1} s", started.elapsed().as_secs_f64()));

    racing(world)?;
    lap("raced");
    each_system(world, |client, number| {
        let bytes = if runs(number) { SMALL_BYTES } else { HUGE_BYTES };
        done(&format!("create {number}"), client.create(&name(number), bytes))
    })?;
    lap("created");
    all_differ(world)?;
    lap("looked at");
    each_system(world, start)?;
    lap("started");
    all_run(world)?;
    each_system(world, |client, number| {
        if runs(number) {
            done(&format!("stop {number}"), client.act("stop", &name(number)))?;
        }
        done(&format!("delete {number}"), client.act("delete", &name(number)))
    })?;
    lap("deleted");
    let took = started.elapsed();
    let laps = laps.join(", ");
    ensure!(took < WHOLE_LIMIT, "it took {:.1} s: {laps}", took.as_secs_f64());

    nothing_is_left(world, &before)?;
    daemons_keep_their_size(world, &sizes_before)?;
    world.node.run(&["--yes", "network", "delete", NETWORK]).map(drop)
}

/// Every client creates the same names at the same moment: each name goes to one of them, the others learn that it is taken.
fn racing(world: &World) -> Result<()> {
    for race in 0..RACES {
        let (name, wins, start) = (format!("race-{race}"), AtomicUsize::new(0), Barrier::new(CLIENTS));
        together(world, |client, _number| {
            start.wait();
            match client.create(&name, HUGE_BYTES)? {
                None => drop(wins.fetch_add(1, Ordering::Relaxed)),
                Some(refusal) => {
                    let is_taken = refusal.code == "AlreadyExists" && refusal.message.contains(&name);
                    ensure!(is_taken, "the loser of {name} hears {refusal:?}");
                }
            }
            Ok(())
        })?;
        ensure!(wins.into_inner() == 1, "{name} was not created by exactly one client");
        world.delete(&name)?;
    }
    Ok(())
}

/// One that fits runs; one that does not is refused with what it needs.
fn start(client: &Client<'_>, number: usize) -> Result<()> {
    let what = format!("start {number}");
    if runs(number) {
        return done(&what, client.act("start", &name(number)));
    }
    let refusal = client.act("start", &name(number))?.with_context(|| format!("{what} was not refused"))?;
    let is_precise = refusal.message.contains("it needs ") && refusal.message.contains("4TiB for the guest");
    ensure!(refusal.code == "ResourceExhausted" && is_precise, "{what}: {refusal:?}");
    Ok(())
}

/// What was started runs and nothing else does, as the node says it: a state is told a moment after the job that led to it.
fn all_run(world: &World) -> Result<()> {
    let started: BTreeSet<String> = (0..SYSTEMS).filter(|number| runs(*number)).map(name).collect();
    wait_for("those that were started to run, and no other", LIMIT, || {
        let systems = world.node.json(&["system", "list"]).map_err(|error| format!("{error:#}"))?;
        let running = systems.as_array().into_iter().flatten().filter(|system| system["status"]["state"] == "running");
        let running = running.map(|system| text(&system["name"]));
        let running: BTreeSet<String> = running.filter(|name| name.starts_with("many-")).collect();
        let differ: Vec<&String> = running.symmetric_difference(&started).collect();
        if differ.is_empty() { Ok(()) } else { Err(format!("not as it was started: {differ:?}")) }
    })
}

/// Names, identities, MACs, addresses: in the specs, and as the DHCP server reads them.
fn all_differ(world: &World) -> Result<()> {
    let list = world.node.json(&["object", "list", "system"])?;
    let ours: Vec<&Value> = list
        .as_array()
        .context("no list of systems")?
        .iter()
        .filter(|system| text(&system["name"]).starts_with("many-"))
        .collect();
    ensure!(ours.len() == SYSTEMS, "{} systems were created", ours.len());
    for pointer in ["/name", "/uid", "/spec/nics/0/mac", "/spec/nics/0/address", "/spec/disks/0/volume"] {
        let values: BTreeSet<String> = ours.iter().filter_map(|system| system.pointer(pointer)).map(text).collect();
        ensure!(values.len() == SYSTEMS, "{pointer}: {} values for {SYSTEMS} systems", values.len());
    }
    let declared: BTreeSet<(String, String)> = ours
        .iter()
        .map(|system| (text(&system["spec"]["nics"][0]["mac"]), text(&system["spec"]["nics"][0]["address"])))
        .collect();
    wait_for("the DHCP server to know every system and nothing else", LIMIT, || {
        let hosts = hosts(world).map_err(|error| format!("{error:#}"))?;
        let known: BTreeSet<(String, String)> = hosts.iter().cloned().collect();
        if hosts.len() == SYSTEMS && known == declared { Ok(()) } else { Err(format!("{} hosts", hosts.len())) }
    })
}

/// MAC and address of every line that the DHCP server of the network reads.
fn hosts(world: &World) -> Result<Vec<(String, String)>> {
    let network = world.call("cluster", "acp.cluster.Get", json!({ "kind": "network", "name": NETWORK }))?;
    let folder = text(&network["object"]["uid"]).replace('-', "");
    let mut hosts = Vec::new();
    for entry in fs::read_dir(world.node.layout().state().join("network/dhcp").join(folder))? {
        let text = fs::read_to_string(entry?.path())?;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut fields = line.split(',');
            let (mac, address) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            hosts.push((mac.to_owned(), address.to_owned()));
        }
    }
    Ok(hosts)
}

/// What was there before is there, and nothing else; jobs are remembered within their bound.
fn nothing_is_left(world: &World, before: &Inventory) -> Result<()> {
    wait_for("everything of the systems to be gone", LIMIT, || {
        let after = Inventory::take(world).map_err(|error| format!("{error:#}"))?;
        if after == *before { Ok(()) } else { Err(format!("{after:?}, before {before:?}")) }
    })?;
    for service in ["hypervisor", "storage"] {
        let jobs = fs::read_dir(world.node.layout().state().join(service).join("jobs"))?.count();
        ensure!(jobs <= JOBS_MAX, "{service} keeps {jobs} jobs");
    }
    Ok(())
}

/// No daemon was replaced, and none keeps what is gone.
fn daemons_keep_their_size(world: &World, before: &[(&'static str, Identity, u64)]) -> Result<()> {
    for ((unit, process, bytes), (_, present, now)) in before.iter().zip(sizes(world)?) {
        ensure!(*process == present, "{unit} was replaced meanwhile");
        let grown = now.saturating_sub(*bytes);
        ensure!(grown <= GROWTH_BYTES_MAX, "{unit} has grown from {bytes} to {now} bytes");
    }
    Ok(())
}
