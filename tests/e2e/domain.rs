//! The database everywhere: what a node says is known on every node, whatever becomes of datagrams. The numbers are lines of
//! docs/operations/failures.md.

mod foreign;
mod loss;
mod relays;

use std::{
    net::{SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use self::loss::Concluded;
pub(crate) use self::relays::{CASES as ROUTED, Routed};
use crate::{
    harness::Case,
    quorum::{
        Five,
        five::{HOST, LIMIT, NODES},
    },
};

/// The cases.
pub(crate) const CASES: &[Case<Five>] = &[
    Case { name: "domain::what_a_node_says_is_known_on_every_node_with_reporter_and_age", run: known_everywhere },
    Case { name: "domain::a_cluster_service_that_was_killed_knows_and_is_known_again", run: killed },
    Case { name: "domain::s1_multicast_that_does_not_arrive_is_replaced_by_unicast", run: deaf },
    Case { name: "domain::s2_a_tenth_of_the_packets_lost_changes_no_verdict", run: loss::a_tenth },
    Case { name: "domain::s2_three_tenths_of_the_packets_lost_let_nobody_be_called_down", run: loss::three_tenths },
    Case { name: "domain::s3_a_node_that_falls_silent_again_and_again_is_followed", run: bursts },
    Case { name: "domain::s4_halves_that_were_cut_are_in_step_again", run: halves },
    Case { name: "domain::s6_what_no_member_has_sealed_is_refused_and_counted", run: strangers },
    Case { name: "domain::s6_recorded_and_damaged_datagrams_and_those_of_others_are_refused", run: foreign::datagrams },
    Case { name: "domain::s6_a_node_that_missed_two_keys_is_refused_and_repaired", run: foreign::key },
];

/// After how long a node sends by unicast to one that its multicast does not reach: the promise.
const FALL_BACK_MAX: Duration = Duration::from_secs(5);
/// After how long everything is in step when a cut is healed: the promise.
const IN_STEP_MAX: Duration = Duration::from_secs(5);
/// How long a node falls silent, how often when that is all there is to do, and how often in the gate.
const SILENCE: Duration = Duration::from_millis(1_900);
const BURST_EVERY: Duration = Duration::from_secs(10);
const BURSTS_IN_THE_GATE: u32 = 3;
/// The longest silence that is never taken for a death.
const TOLERATED: Duration = Duration::from_millis(2_200);
/// What a busy machine adds.
const GRACE: Duration = Duration::from_secs(5);

/// A system as a node has it.
fn seen(five: &Five, node: usize, name: &str) -> Result<Option<Value>> {
    let systems = five.json(node, &["system", "list"])?;
    Ok(systems.as_array().context("a list")?.iter().find(|system| system["name"] == name).cloned())
}

/// Waits until every node of these has the system in this state by the word of its host, fresh.
fn wait_state(five: &Five, nodes: &[usize], name: &str, state: &str, limit: Duration) -> Result<()> {
    let started = Instant::now();
    for node in nodes {
        wait_for(&format!("{name} to be {state} on n{node}"), limit.saturating_sub(started.elapsed()), || {
            let system = seen(five, *node, name).map_err(|error| format!("{error:#}"))?.unwrap_or_default();
            let is_so = system["status"]["state"] == state && system["reporter"] == format!("hypervisor@n{HOST}");
            if is_so { Ok(()) } else { Err(system.to_string()) }
        })?;
    }
    Ok(())
}

fn create(five: &Five, name: &str) -> Result<()> {
    five.run(HOST, &["system", "create", name, "--image", "demo", "--memory", "64MiB", "--wait"]).map(drop)
}

fn delete(five: &Five, name: &str) -> Result<()> {
    five.run(HOST, &["--yes", "system", "delete", name, "--wait"])?;
    for node in NODES {
        wait_for(&format!("{name} to be gone on n{node}"), LIMIT, || match seen(five, node, name) {
            Ok(None) => Ok(()),
            Ok(Some(system)) => Err(system.to_string()),
            Err(error) => Err(format!("{error:#}")),
        })?;
    }
    Ok(())
}

fn known_everywhere(five: &Five) -> Result<()> {
    create(five, "told")?;
    wait_state(five, &NODES, "told", "stopped", LIMIT)?;
    five.run(HOST, &["system", "start", "told", "--wait"])?;
    wait_state(five, &NODES, "told", "running", LIMIT)?;
    for node in NODES {
        wait_for(&format!("n{node} to know what every node uses"), LIMIT, || {
            let top = five.json(node, &["top"]).map_err(|error| format!("{error:#}"))?;
            let rows = top["nodes"].as_array().cloned().unwrap_or_default();
            let is_known = |number: &usize| {
                rows.iter().any(|row| {
                    row["name"] == format!("n{number}")
                        && row["reporter"] == format!("hypervisor@n{number}")
                        && row["stats"]["memory_available_bytes"].as_u64().is_some_and(|bytes| bytes > 0)
                        && row["age_ms"].as_u64().is_some_and(|age| age < 30_000)
                })
            };
            if rows.len() == NODES.len() && NODES.iter().all(is_known) { Ok(()) } else { Err(top.to_string()) }
        })?;
    }
    five.run(HOST, &["--yes", "system", "stop", "told", "--wait"])?;
    wait_state(five, &NODES, "told", "stopped", LIMIT)?;
    delete(five, "told")
}

fn killed(five: &Five) -> Result<()> {
    create(five, "kept")?;
    wait_state(five, &NODES, "kept", "stopped", LIMIT)?;
    // Of who says it, and of somebody who heard it.
    for node in [HOST, 2] {
        five.lab().kill(crate::quorum::five::name(node)?, Some("cluster"))?;
        wait_state(five, &NODES, "kept", "stopped", LIMIT)?;
    }
    five.run(HOST, &["system", "start", "kept", "--wait"])?;
    wait_state(five, &NODES, "kept", "running", LIMIT)?;
    five.run(HOST, &["--yes", "system", "stop", "kept", "--wait"])?;
    delete(five, "kept")
}

/// How a node hears another one.
fn way(five: &Five, from: usize, to: usize) -> Result<Value> {
    let domain = five.json(from, &["domain", "show"])?;
    let peers = domain["peers"].as_array().context("peers")?;
    let name = format!("n{to}");
    peers.iter().find(|peer| peer["node"] == name.as_str()).cloned().with_context(|| format!("n{from} knows no {name}"))
}

fn wait_way(five: &Five, (from, to): (usize, usize), expected: &str, limit: Duration) -> Result<()> {
    wait_for(&format!("n{from} to send to n{to} by {expected}"), limit, || {
        let way = way(five, from, to).map_err(|error| format!("{error:#}"))?;
        if way["way"] == expected { Ok(()) } else { Err(way.to_string()) }
    })
}

fn wait_multicast(five: &Five) -> Result<()> {
    for from in NODES {
        for to in NODES.into_iter().filter(|to| *to != from) {
            // A way that fell is trusted again after 5 s, and after twice as long each further time.
            wait_way(five, (from, to), "multicast", LIMIT)?;
        }
    }
    Ok(())
}

fn deaf(five: &Five) -> Result<()> {
    wait_multicast(five)?;
    five.lab().deafen("n5>n2,n3")?;
    wait_way(five, (HOST, 2), "unicast", FALL_BACK_MAX + GRACE)?;
    wait_way(five, (HOST, 3), "unicast", FALL_BACK_MAX + GRACE)?;
    ensure!(way(five, HOST, 4)?["way"] == "multicast", "n4 hears it still");
    ensure!(way(five, 2, HOST)?["way"] == "multicast", "the other way works still");
    let said = five.acpctl(1, &["network", "doctor"])?;
    ensure!(said.stdout.contains("one way") || said.stdout.contains("copies"), "the doctor sees nothing: {said:?}");
    create(five, "copied")?;
    wait_state(five, &NODES, "copied", "stopped", LIMIT)?;
    five.heal()?;
    wait_multicast(five)?;
    delete(five, "copied")
}

fn bursts(five: &Five) -> Result<()> {
    create(five, "burst")?;
    let before = Concluded::so_far(five)?;
    let (started, length, mut longest) = (Instant::now(), loss::length()?, Duration::ZERO);
    for burst in 0.. {
        let is_over = length.map_or(burst == BURSTS_IN_THE_GATE, |length| started.elapsed() >= length);
        if is_over {
            break;
        }
        let silent = Instant::now();
        five.lab().silence(crate::quorum::five::name(HOST)?)?;
        // That long nothing is heard of it, and what making and ending it takes.
        thread::park_timeout(SILENCE);
        five.heal()?;
        longest = longest.max(silent.elapsed());
        let (verb, state) = match seen(five, HOST, "burst")?.context("it is there")?["status"]["state"].as_str() {
            Some("running") => ("stop", "stopped"),
            _ => ("start", "running"),
        };
        five.run(HOST, &["--yes", "system", verb, "burst", "--wait"])?;
        wait_state(five, &NODES, "burst", state, IN_STEP_MAX + GRACE)?;
        if length.is_some() {
            thread::park_timeout(BURST_EVERY.saturating_sub(silent.elapsed()));
        }
    }
    let concluded = Concluded::so_far(five)?.since(before);
    ensure!(concluded.down == 0.0 || longest > TOLERATED, "silences of at most {longest:?}, and {concluded:?}");
    five.run(HOST, &["--yes", "system", "stop", "burst", "--wait"])?;
    delete(five, "burst")
}

fn halves(five: &Five) -> Result<()> {
    create(five, "halved")?;
    wait_state(five, &NODES, "halved", "stopped", LIMIT)?;
    five.cut("n1,n2|n3,n4,n5")?;
    five.run(HOST, &["system", "start", "halved", "--wait"])?;
    wait_state(five, &[3, 4, 5], "halved", "running", LIMIT)?;
    let old = seen(five, 1, "halved")?.context("it was known")?;
    ensure!(old["status"]["state"] != "running", "n1 is cut off and knows: {old}");
    wait_for("n1 to say how old its word is", LIMIT, || {
        let age = seen(five, 1, "halved").map_err(|error| format!("{error:#}"))?.unwrap_or_default()["age_ms"].clone();
        if age.as_u64().is_some_and(|age| age > 5_000) { Ok(()) } else { Err(age.to_string()) }
    })?;
    five.heal()?;
    wait_state(five, &NODES, "halved", "running", IN_STEP_MAX + GRACE)?;
    five.run(HOST, &["--yes", "system", "stop", "halved", "--wait"])?;
    delete(five, "halved")
}

/// Refused datagrams of a node, by reason.
fn refused(five: &Five, node: usize, reason: &str) -> Result<u64> {
    let domain = five.json(node, &["domain", "show"])?;
    let found = domain["refused"].as_array().context("refused")?.iter().find(|one| one["reason"] == reason).cloned();
    Ok(found.and_then(|one| one["count"].as_u64()).unwrap_or(0))
}

fn strangers(five: &Five) -> Result<()> {
    let address = five.call(2, "cluster", "acp.cluster.GetDomain", json!({}))?["address"]
        .as_str()
        .context("an address")?
        .to_owned();
    let to: SocketAddr = address.parse()?;
    let reasons = ["truncated", "oversized", "version", "cluster"];
    let before: Vec<u64> = reasons.iter().map(|reason| refused(five, 2, reason)).collect::<Result<_>>()?;
    let other_cluster: Vec<u8> = [&[1_u8][..], &[7; 80]].concat();
    five.member(1).layout.namespace().run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0)).context("a socket")?;
        for datagram in [&[1_u8; 20][..], &[1; 1_450], &[9; 100], &other_cluster] {
            socket.send_to(datagram, to)?;
        }
        anyhow::Ok(())
    })?;
    for (reason, before) in reasons.iter().zip(before) {
        wait_for(&format!("a datagram to be refused as {reason}"), LIMIT, || {
            let now = refused(five, 2, reason).map_err(|error| format!("{error:#}"))?;
            if now > before { Ok(()) } else { Err(now.to_string()) }
        })?;
    }
    create(five, "stranger")?;
    wait_state(five, &NODES, "stranger", "stopped", LIMIT)?;
    delete(five, "stranger")
}
