//! Five nodes in two domains with a router between them: what one domain says is known in the other one, whatever becomes of relays.
#![expect(clippy::print_stdout, reason = "what was measured is printed")]

use std::time::{Duration, Instant};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{GRACE, IN_STEP_MAX, seen, way};
use crate::{
    harness::{Case, Stage},
    quorum::{
        Five,
        five::{HOST, LIMIT, NODES},
    },
};

/// Of the domain of which nothing was said, and of the other one.
const NEAR: [usize; 3] = [1, 3, 5];
const FAR: [usize; 2] = [2, 4];
/// Runs systems of the other domain.
const FAR_HOST: usize = 2;
/// How long five nodes take to be a cluster whose nodes hear each other: the figure is 20 s, on a machine to itself.
const READY_MAX: Duration = Duration::from_secs(20);

/// The cases.
pub(crate) const CASES: &[Case<Routed>] = &[
    Case { name: "domain::f5_two_domains_are_ready", run: ready },
    Case { name: "domain::s4_relays_tell_the_state_of_another_domain", run: told },
    Case { name: "domain::s4_relays_lost_one_by_one_cost_nothing", run: one_lost },
    Case { name: "domain::s4_relays_lost_together_are_replaced", run: both_lost },
    Case { name: "domain::s4_relays_bring_a_domain_that_was_cut_off_into_step", run: cut },
    Case { name: "domain::s4_relays_follow_a_node_to_another_domain", run: moved },
];

/// The lab.
pub(crate) struct Routed {
    five: Five,
    ready: Duration,
}

impl Stage for Routed {
    const NAME: &'static str = "the lab of five in two domains";
    const LEAVES_NOTHING: &'static str = "the lab of five in two domains leaves nothing behind";
    const IS_REPLACED: bool = true;

    fn start() -> Result<Self> {
        let begin = Instant::now();
        let five = Five::stand(2)?;
        let routed = Self { five, ready: Duration::ZERO };
        match routed.wait_joined() {
            Ok(()) => Ok(Self { ready: begin.elapsed(), ..routed }),
            Err(error) => {
                let evidence = routed.five.evidence("domain::relays");
                routed.five.end().with_context(|| format!("after {error:#}"))?;
                Err(error.context(evidence))
            }
        }
    }

    fn before(&self) -> Result<()> {
        self.five.mend()?;
        self.five.equip(FAR_HOST)?;
        self.five.wait_agreed()?;
        self.wait_joined()
    }

    fn end(self) -> Result<()> {
        self.five.end()
    }

    fn evidence(&self, case: &str) -> String {
        let shown =
            NODES.map(|node| self.five.run(node, &["domain", "show"]).unwrap_or_else(|error| format!("{error:#}")));
        format!("{}\n{}", shown.join("\n"), self.five.evidence(case))
    }
}

impl Routed {
    /// Waits until each node hears each node of the other domain by a relay.
    fn wait_joined(&self) -> Result<()> {
        for (from, to) in NEAR.iter().flat_map(|near| FAR.map(|far| [(*near, far), (far, *near)])).flatten() {
            wait_for(&format!("n{from} to hear n{to} by a relay"), LIMIT, || {
                let way = way(&self.five, from, to).map_err(|error| format!("{error:#}"))?;
                let is_heard = way["silent_for_ms"].as_u64().is_some_and(|ms| ms < 7_000);
                if way["way"] == "relay" && !way["via"].is_null() && way["is_whole"] == true && is_heard {
                    Ok(())
                } else {
                    Err(way.to_string())
                }
            })?;
        }
        Ok(())
    }

    /// The relays of a domain, as one of its nodes has them.
    fn relays(&self, node: usize) -> Result<Vec<usize>> {
        let domain = self.five.json(node, &["domain", "show"])?;
        let named = |name: &Value| NODES.into_iter().find(|number| *name == format!("n{number}"));
        Ok(domain["relays"].as_array().context("relays")?.iter().filter_map(named).collect())
    }

    /// How long after `since` the last of these nodes had the system in this state, by the word of its host.
    fn in_step(&self, since: Instant, nodes: &[usize], system: &str, host: usize, state: &str) -> Result<Duration> {
        for node in nodes {
            wait_for(&format!("{system} to be {state} on n{node}"), LIMIT, || {
                let system = seen(&self.five, *node, system).map_err(|error| format!("{error:#}"))?.unwrap_or_default();
                let is_so = system["status"]["state"] == state && system["reporter"] == format!("hypervisor@n{host}");
                if is_so { Ok(()) } else { Err(system.to_string()) }
            })?;
        }
        Ok(since.elapsed())
    }

    fn create(&self, host: usize, system: &str, everywhere: &[usize]) -> Result<()> {
        self.five.run(host, &["system", "create", system, "--image", "demo", "--memory", "64MiB", "--wait"])?;
        self.in_step(Instant::now(), everywhere, system, host, "stopped").map(drop)
    }

    fn switch(&self, host: usize, system: &str, verb: &str) -> Result<()> {
        self.five.run(host, &["--yes", "system", verb, system, "--wait"]).map(drop)
    }

    fn delete(&self, host: usize, system: &str) -> Result<()> {
        self.five.run(host, &["--yes", "system", "delete", system, "--wait"]).map(drop)
    }
}

fn within(what: &str, took: Duration) -> Result<()> {
    println!("    {what}: in step after {} ms", took.as_millis());
    ensure!(took <= IN_STEP_MAX + GRACE, "{what}: in step after {took:?}, at most {IN_STEP_MAX:?} is promised");
    Ok(())
}

fn ready(routed: &Routed) -> Result<()> {
    println!("    ready after {} ms; the figure is {READY_MAX:?}", routed.ready.as_millis());
    ensure!(routed.ready <= READY_MAX * 3, "even a busy machine takes less than {:?}", routed.ready);
    Ok(())
}

fn told(routed: &Routed) -> Result<()> {
    routed.create(HOST, "near", &NODES)?;
    routed.create(FAR_HOST, "far", &NODES)?;
    for (host, system) in [(HOST, "near"), (FAR_HOST, "far")] {
        routed.switch(host, system, "start")?;
        let took = routed.in_step(Instant::now(), &NODES, system, host, "running")?;
        within(&format!("{system} started"), took)?;
        routed.switch(host, system, "stop")?;
        routed.in_step(Instant::now(), &NODES, system, host, "stopped")?;
    }
    let listed = routed.five.json(1, &["domain", "list"])?;
    let names: Vec<&str> =
        listed.as_array().context("domains")?.iter().filter_map(|row| row["name"].as_str()).collect();
    ensure!(names == ["default", "domain2"], "{listed}");
    for node in NODES {
        let domain = routed.five.json(node, &["domain", "show"])?;
        let is_relay = routed.relays(node)?.contains(&node);
        let hears = domain["links"].as_array().is_some_and(|links| links.iter().any(|link| link["node"].is_string()));
        ensure!(hears || !is_relay, "relays hear another domain themselves: {domain}");
    }
    routed.delete(HOST, "near")?;
    routed.delete(FAR_HOST, "far")
}

fn one_lost(routed: &Routed) -> Result<()> {
    routed.create(FAR_HOST, "one", &NODES)?;
    let relays = routed.relays(1)?;
    ensure!(relays.len() == 2, "{relays:?}");
    for (relay, (verb, state)) in relays.into_iter().zip([("start", "running"), ("stop", "stopped")]) {
        let rest: Vec<usize> = NODES.into_iter().filter(|node| *node != relay).collect();
        routed.five.kill(relay)?;
        let killed = Instant::now();
        routed.switch(FAR_HOST, "one", verb)?;
        let said = Instant::now();
        let took = routed.in_step(said, &rest, "one", FAR_HOST, state)?;
        println!("    {} ms after the kill", killed.elapsed().as_millis());
        within(&format!("relay n{relay} killed"), took)?;
        routed.five.start_again(relay)?;
        routed.in_step(Instant::now(), &NODES, "one", FAR_HOST, state)?;
        routed.wait_joined()?;
    }
    routed.delete(FAR_HOST, "one")
}

fn both_lost(routed: &Routed) -> Result<()> {
    routed.create(FAR_HOST, "both", &NODES)?;
    let relays = routed.relays(1)?;
    let rest: Vec<usize> = NODES.into_iter().filter(|node| !relays.contains(node)).collect();
    for relay in &relays {
        routed.five.kill(*relay)?;
    }
    let killed = Instant::now();
    routed.switch(FAR_HOST, "both", "start")?;
    let said = Instant::now();
    let took = routed.in_step(said, &rest, "both", FAR_HOST, "running")?;
    println!("    said {} ms after the kill", said.duration_since(killed).as_millis());
    within(&format!("relays n{} and n{} killed", relays[0], relays[1]), took)?;
    for relay in &relays {
        routed.five.start_again(*relay)?;
    }
    routed.in_step(Instant::now(), &NODES, "both", FAR_HOST, "running")?;
    routed.switch(FAR_HOST, "both", "stop")?;
    routed.delete(FAR_HOST, "both")
}

fn cut(routed: &Routed) -> Result<()> {
    routed.create(HOST, "kept", &NODES)?;
    routed.five.cut("n1,n3,n5|n2,n4")?;
    routed.switch(HOST, "kept", "start")?;
    routed.in_step(Instant::now(), &NEAR, "kept", HOST, "running")?;
    for node in FAR {
        wait_for(&format!("n{node} to say that its word is old"), LIMIT, || {
            let system = seen(&routed.five, node, "kept").map_err(|error| format!("{error:#}"))?.unwrap_or_default();
            let is_old = system["age_ms"].as_u64().is_some_and(|age| age > 8_000);
            if is_old && system["status"]["state"] == "stopped" { Ok(()) } else { Err(system.to_string()) }
        })?;
    }
    let said = routed.five.acpctl(HOST, &["network", "doctor"])?;
    ensure!(said.stdout.contains("its domain is not heard"), "the doctor sees nothing: {said:?}");
    routed.five.heal()?;
    let took = routed.in_step(Instant::now(), &FAR, "kept", HOST, "running")?;
    within("a domain cut off and healed", took)?;
    routed.switch(HOST, "kept", "stop")?;
    routed.delete(HOST, "kept")
}

fn moved(routed: &Routed) -> Result<()> {
    routed.create(HOST, "still", &NODES)?;
    routed.five.run(1, &["domain", "assign", "n3", "domain2"])?;
    // No multicast crosses the router: within its domain it is sent copies.
    for (from, to, expected) in [(3, 1, "relay"), (1, 3, "relay"), (3, 2, "unicast"), (4, 3, "unicast")] {
        wait_for(&format!("n{from} to hear n{to} in another way"), LIMIT, || {
            let way = way(&routed.five, from, to).map_err(|error| format!("{error:#}"))?;
            if way["way"] == expected && way["is_whole"] == true { Ok(()) } else { Err(way.to_string()) }
        })?;
    }
    routed.switch(HOST, "still", "start")?;
    routed.in_step(Instant::now(), &NODES, "still", HOST, "running")?;
    routed.five.run(1, &["domain", "assign", "n3", "default"])?;
    routed.switch(HOST, "still", "stop")?;
    routed.in_step(Instant::now(), &NODES, "still", HOST, "stopped")?;
    routed.delete(HOST, "still")
}
