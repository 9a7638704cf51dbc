//! S8: many systems by many clients at once.
//!
//! Half of the clients are programs (`acpctl`), half speak to the sockets. Memory ends early on purpose: most systems are
//! declared with more of it than any host has, so that their starts are refused; the others run.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{
    cgroup,
    process::{self, Identity},
    varlink::Conversation,
    wait_for,
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

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

/// What a client was refused.
#[derive(Debug)]
struct Refusal {
    code: String,
    message: String,
}

/// What became of a request; everything but a refusal is a failure of the test.
type Outcome = Result<Option<Refusal>>;

/// One of the clients.
struct Client<'a> {
    world: &'a World,
    is_program: bool,
}

impl Client<'_> {
    fn create(&self, name: &str, bytes: u64) -> Outcome {
        if self.is_program {
            let memory = format!("{}MiB", bytes >> 20);
            let create = ["system", "create", name, "--image", "demo", "--memory", &memory, "--network", NETWORK];
            return self.program(&[&create[..], &["--wait"]].concat());
        }
        let request = json!({ "name": name, "image": "demo", "memory_bytes": bytes, "networks": [NETWORK] });
        self.socket("CreateSystem", request)
    }

    fn act(&self, verb: &str, name: &str) -> Outcome {
        if self.is_program {
            return self.program(&["--yes", "system", verb, name, "--wait"]);
        }
        let method = match verb {
            "start" => "StartSystem",
            "stop" => "StopSystem",
            "delete" => "DeleteSystem",
            other => bail!("{other} is none of this test's verbs"),
        };
        self.socket(method, json!({ "name": name }))
    }

    fn program(&self, arguments: &[&str]) -> Outcome {
        let said = self.world.node.acpctl(&[&["-o", "json"], arguments].concat())?;
        if said.status == 0 {
            return Ok(None);
        }
        let failure: Value = serde_json::from_str(&said.stderr).with_context(|| format!("{arguments:?}: {said:?}"))?;
        Ok(Some(Refusal { code: text(&failure["code"]), message: text(&failure["message"]) }))
    }

    /// Calls the method and waits for the job that it began.
    fn socket(&self, method: &str, parameters: Value) -> Outcome {
        let mut daemon = Conversation::open(&self.world.node.socket("hypervisor"))?;
        let reply = daemon.call(&format!("acp.hypervisor.{method}"), parameters)?;
        if let Some(error) = reply["error"].as_str() {
            let code = error.trim_start_matches("acp.error.").to_owned();
            return Ok(Some(Refusal { code, message: text(&reply["parameters"]["message"]) }));
        }
        let job = &reply["parameters"]["job"];
        ensure!(job.is_string(), "{method} began no job: {reply}");
        daemon.send(&json!({ "method": "acp.jobs.Watch", "parameters": { "id": job }, "more": true }))?;
        loop {
            let reply = daemon.receive()?.with_context(|| format!("the job of {method} is not told any more"))?;
            let job = &reply["parameters"]["job"];
            match job["state"].as_str() {
                Some("succeeded") => return Ok(None),
                Some("running") => {}
                _ => {
                    let (code, message) = (text(&job["error"]["code"]), text(&job["error"]["message"]));
                    ensure!(!message.is_empty(), "the job of {method} ended as {reply}");
                    return Ok(Some(Refusal { code, message }));
                }
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn done(what: &str, outcome: Outcome) -> Result<()> {
    match outcome.with_context(|| what.to_owned())? {
        None => Ok(()),
        Some(refusal) => bail!("{what}: {refusal:?}"),
    }
}

fn name(number: usize) -> String {
    format!("many-{number}")
}

fn runs(number: usize) -> bool {
    number.is_multiple_of(RUNS_EVERY)
}

/// Has every client work at once, each with its number; the first failure is answered.
fn together(world: &World, work: impl Fn(&Client<'_>, usize) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let client = |number: usize| move || work(&Client { world, is_program: number.is_multiple_of(2) }, number);
        let threads: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        let ends: Vec<Result<()>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        ends.into_iter().collect()
    })
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

/// What the node has that a system needs, and what it remembers.
#[derive(Debug, PartialEq)]
struct Inventory {
    specs: Vec<String>,
    links: BTreeSet<String>,
    units: BTreeSet<String>,
    groups: BTreeSet<String>,
    volumes: usize,
    intents: usize,
    files: usize,
}

impl Inventory {
    fn take(world: &World) -> Result<Self> {
        let state = world.node.layout().state();
        let volumes = world.node.json(&["volume", "list"])?.as_array().map_or(0, Vec::len);
        let names = |unit: &Value| text(&unit["name"]);
        let files = |path: &str| fs::read_dir(state.join(path)).map(Iterator::count).with_context(|| path.to_owned());
        Ok(Self {
            specs: world.specs()?,
            links: world.node.layout().namespace().links()?.into_iter().collect(),
            units: world.units()?.iter().map(names).collect(),
            groups: groups(world),
            volumes,
            intents: files("hypervisor/systems")?,
            files: pool_files(world)?,
        })
    }
}

/// The names of the units that have a group in some hierarchy.
fn groups(world: &World) -> BTreeSet<String> {
    let folders = cgroup::folders(&world.node.layout().name());
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().filter_map(Result::ok);
    let units = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    units.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn pool_files(world: &World) -> Result<usize> {
    let count = |path: std::path::PathBuf| -> Result<usize> { Ok(fs::read_dir(path)?.count()) };
    let pool = world.node.layout().state().join("storage-worker/default");
    let mut files = 0;
    for entry in fs::read_dir(&pool)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(entry.path())? } else { 1 };
    }
    Ok(files)
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
    ensure!(
        running(world)? == (0..SYSTEMS).filter(|number| runs(*number)).count(),
        "other systems run than were started"
    );
    each_system(world, |client, number| {
        if runs(number) {
            done(&format!("stop {number}"), client.act("stop", &name(number)))?;
        }
        done(&format!("delete {number}"), client.act("delete", &name(number)))
    })?;
    lap("deleted");
    let took = started.elapsed();
    let laps = laps.join(", ");
    eprintln!("LAPS {laps}");
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

fn running(world: &World) -> Result<usize> {
    let systems = world.node.json(&["system", "list"])?;
    let systems = systems.as_array().context("no list of systems")?;
    Ok(systems.iter().filter(|system| system["status"]["state"] == "running").count())
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
