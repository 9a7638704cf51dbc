//! S5: the network between nodes is cut and heals while calls are under way.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{varlink::Conversation, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    cluster::{At, Cluster},
    harness::Case,
    world::LIMIT,
};

/// The cases of this line.
pub(crate) const CASES: &[Case<Cluster>] =
    &[Case { name: "nodes::s5_a_cut_that_heals_keeps_deadlines_and_executes_nothing_twice", run: cut_and_heal }];

/// How long each call is given, and what `acpctl` may need beyond it to start and to say so.
const PATIENCE: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_secs(1);
/// Callers at once, and the most calls that each makes: addresses of networks are numbered by them.
const CALLERS: usize = 3;
const CALLS_MAX: usize = 250;
/// The pause between two calls of a caller: each object has a link of its own on n1.
const PACE: Duration = Duration::from_millis(150);
/// How `acpctl` ends when its time is over, and when nobody is there.
const NO_ANSWER: [i32; 2] = [6, 75];

/// A call as its caller saw it.
struct Made {
    name: String,
    status: i32,
    said: String,
    took: Duration,
}

fn cut_and_heal(cluster: &Cluster) -> Result<()> {
    let first = last_index(cluster)? + 1;
    let calls = Calls::default();
    thread::scope(|scope| -> Result<()> {
        let calls = &calls;
        let callers: Vec<_> =
            (0..CALLERS).map(|caller| scope.spawn(move || calls.create_on(cluster, caller))).collect();
        // One way first: what n2 asks arrives, and what n1 answers does not.
        let disturbed = ["n1>n2", "n2>n1", "n1|n2"].into_iter().try_for_each(|groups| {
            calls.wait_more(true, 2 * CALLERS)?;
            cluster.cut(groups)?;
            calls.wait_more(false, 2 * CALLERS).with_context(|| format!("with the cut {groups}"))?;
            cluster.heal()
        });
        let disturbed = disturbed.and_then(|()| calls.wait_more(true, 2 * CALLERS));
        calls.is_over.store(true, Ordering::Relaxed);
        let ended =
            callers.into_iter().map(|caller| caller.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<()>>().and(disturbed)
    })?;
    let made = calls.made.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (done, lost): (Vec<&Made>, Vec<&Made>) = made.iter().partition(|call| call.status == 0);
    for call in &lost {
        ensure!(NO_ANSWER.contains(&call.status), "{} ended with {}: {}", call.name, call.status, call.said);
    }
    for call in &made {
        ensure!(call.took <= PATIENCE + GRACE, "{} took {:?}", call.name, call.took);
    }
    ensure!(!lost.is_empty() && !done.is_empty(), "{} calls were done and {} lost", done.len(), lost.len());
    let entries = entries(cluster, first)?;
    for call in &made {
        let count = entries.get(&call.name).map_or(0, Vec::len);
        ensure!(count <= 1, "{} was executed {count} times: {:?}", call.name, entries[&call.name]);
        ensure!(count == 1 || call.status != 0, "{} was acknowledged and is not in the log", call.name);
    }
    // Whatever was not up in time is undone by whoever declared it.
    let standing = cluster.names(At::N1, "network")?;
    for name in entries.keys().filter(|name| standing.contains(*name)) {
        cluster.run(At::N1, &["--yes", "network", "delete", name])?;
    }
    cluster.wait_united()
}

/// Calls under way.
#[derive(Default)]
struct Calls {
    is_over: AtomicBool,
    made: Mutex<Vec<Made>>,
}

impl Calls {
    /// Declares networks on n1 from n2, each with a name of its own, until told to end.
    fn create_on(&self, cluster: &Cluster, caller: usize) -> Result<()> {
        let patience = format!("{}s", PATIENCE.as_secs());
        for call in 0..CALLS_MAX {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let (name, address) = (format!("cut-{caller}-{call}"), format!("10.{}.{call}.1/24", 130 + caller));
            let started = Instant::now();
            let words = ["--node", "n1", "--timeout", &patience, "network", "create", &name, "--address", &address];
            let said = cluster.acpctl(At::N2, &[&words[..], &["--no-dhcp", "--no-nat"]].concat())?;
            let made = Made { name, status: said.status, said: said.stderr, took: started.elapsed() };
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
            thread::park_timeout(PACE);
        }
        Ok(())
    }

    fn count(&self, are_done: bool) -> usize {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.iter().filter(|call| (call.status == 0) == are_done).count()
    }

    /// Waits until so many more calls were done, or lost.
    fn wait_more(&self, are_done: bool, more: usize) -> Result<()> {
        let before = self.count(are_done);
        let word = if are_done { "done" } else { "lost" };
        wait_for(&format!("{more} more calls to be {word}"), LIMIT, || {
            let now = self.count(are_done);
            if now >= before + more { Ok(()) } else { Err(format!("{} are", now - before)) }
        })
    }
}

fn last_index(cluster: &Cluster) -> Result<u64> {
    let status = cluster.call(At::N1, "cluster", "acp.cluster.GetStatus", json!({}))?;
    status["index"].as_u64().with_context(|| format!("no index in {status}"))
}

/// The entries of n1's log from this one on that declare something, by name: the ids of the requests that caused them.
fn entries(cluster: &Cluster, first: u64) -> Result<BTreeMap<String, Vec<Value>>> {
    let mut log = Conversation::open(&cluster.layout(At::N1).socket("cluster"))?;
    log.send(&json!({ "method": "acp.cluster.ReadLog", "parameters": { "from": first }, "more": true }))?;
    let mut found = BTreeMap::<String, Vec<Value>>::new();
    loop {
        let reply = log.receive()?.context("the log ended early")?;
        ensure!(reply["error"].is_null(), "the log cannot be read: {reply}");
        for entry in reply["parameters"]["entries"].as_array().context("entries")? {
            let (entry, action) = (&entry["entry"], &entry["entry"]["action"]);
            if action["type"] == "create" && action["kind"] == "network" {
                let name = action["name"].as_str().context("an object has a name")?;
                found.entry(name.to_owned()).or_default().push(entry["request"].clone());
            }
        }
        if reply["continues"] != true {
            return Ok(found);
        }
    }
}
