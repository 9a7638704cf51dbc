//! The ways of calls: `--node`, `--trace`, and through the control plane to a node that cannot be dialled.

use std::{process::Command, time::Duration};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::view;
use crate::{
    cluster::{AGENT_PORT, At, Cluster, GUEST, answer, console_answers, denied},
    harness::Case,
    world::LIMIT,
};

/// The cases of ways.
pub(crate) const CASES: &[Case<Cluster>] = &[
    Case { name: "nodes::ways_every_verb_goes_to_every_node", run: every_node },
    Case { name: "nodes::ways_a_trace_names_each_hop_with_its_time", run: trace },
    Case { name: "nodes::ways_a_node_that_cannot_be_dialled_is_reached_over_its_own_link", run: relayed },
];

fn every_node(cluster: &Cluster) -> Result<()> {
    let guest = cluster.guest()?;
    for from in At::ALL {
        for to in At::ALL {
            let units = cluster.json(from, &["--node", to.name(), "service", "list"])?;
            let own = cluster.json(to, &["service", "list"])?;
            let pid = |units: &Value| unit_pid(units, "hypervisor");
            ensure!(pid(&units)? == pid(&own)?, "{from:?} lists other units than {to:?} has");
        }
    }
    let shown = cluster.json(At::N3, &["--node", "n1", "system", "show", GUEST])?;
    ensure!(shown["status"]["state"] == "running", "n3 sees {shown}");
    let create = ["--node", "n1", "network", "create", "remote", "--address", "10.99.0.1/24", "--no-dhcp", "--no-nat"];
    cluster.run(At::N3, &create)?;
    let has = |at: At| Ok::<bool, anyhow::Error>(cluster.names(at, "network")?.contains(&"remote".to_owned()));
    ensure!(has(At::N1)? && !has(At::N3)?, "the network is not on n1, or on n3 as well");
    cluster.run(At::N3, &["--node", "n1", "--yes", "network", "delete", "remote"])?;
    let said = cluster.acpctl(At::N2, &["--node", "n7", "pool", "list"])?;
    ensure!(said.status == 2 && said.stderr.contains("n7"), "a node that is not there: {said:?}");
    let mut console = cluster.console(At::N3)?;
    console_answers(&mut console, "far", 20)?;
    guest.is_unaffected(cluster)
}

fn unit_pid(units: &Value, name: &str) -> Result<Value> {
    let units = units.as_array().context("no list of units")?;
    let found = units.iter().find(|unit| unit["name"] == name).with_context(|| format!("no unit {name}"))?;
    ensure!(found["status"]["pid"].is_u64(), "no pid in {found}");
    Ok(found["status"]["pid"].clone())
}

fn trace(cluster: &Cluster) -> Result<()> {
    let said = cluster.acpctl(At::N3, &["--node", "n1", "--trace", "pool", "list"])?;
    ensure!(said.status == 0, "it failed: {}", said.stderr);
    for word in ["n3", "n1", "agent", "cluster"] {
        ensure!(said.stderr.contains(word), "the trace does not name {word}: {}", said.stderr);
    }
    ensure!(said.stderr.contains("ms") || said.stderr.contains("µs") || said.stderr.contains("us"), "{}", said.stderr);
    ensure!(!said.stdout.contains("agent"), "the trace is among the results: {}", said.stdout);
    let mut conversation = cluster.open(At::N3, At::N1, "cluster")?;
    conversation.send(&json!({ "method": "acp.cluster.GetStatus", "parameters": {}, "acp.ctx": { "trace": true } }))?;
    let reply = conversation.receive()?.context("no answer")?;
    let traced = &reply["acp.trace"];
    ensure!(traced["node"] == "n1" && traced["service"] == "cluster" && traced["took_us"].is_u64(), "{reply}");
    Ok(())
}

/// n3 takes no connection on its port any more: it is called all the same, over the links that it holds to the control plane, by
/// a controller itself, and by who is none through one.
fn relayed(cluster: &Cluster) -> Result<()> {
    block(cluster, true)?;
    let called = over_its_own_link(cluster);
    block(cluster, false)?;
    called?;
    cluster.wait_united()?;
    wait_for("n1 to be asked to lead", LIMIT, || {
        cluster.run(At::N1, &["hub", "transfer", "n1"]).map_err(|error| format!("{error:#}"))
    })?;
    cluster.run(At::N1, &["cluster", "voters", "1"])?;
    let called = wait_controllers(cluster, &["n1"]).and_then(|()| {
        view::seen_from_everywhere(cluster)?;
        block(cluster, true)?;
        let called = through_the_relay(cluster);
        block(cluster, false)?;
        called
    });
    cluster.run(At::N1, &["cluster", "voters", "3"])?;
    called?;
    cluster.wait_united()
}

/// Waits until every node takes these for the controllers.
fn wait_controllers(cluster: &Cluster, names: &[&str]) -> Result<()> {
    wait_for(&format!("{names:?} to be the controllers"), LIMIT, || {
        At::ALL.into_iter().try_for_each(|at| {
            let listed = cluster.call(at, "agent", "acp.agent.ListMembers", json!({}));
            let listed = listed.map_err(|error| format!("{error:#}"))?;
            let nodes = listed["nodes"].as_array().cloned().unwrap_or_default();
            let controllers =
                nodes.iter().filter(|node| node["controller"] == true).filter_map(|node| node["name"].as_str());
            if controllers.eq(names.iter().copied()) { Ok(()) } else { Err(format!("{}: {listed}", at.name())) }
        })
    })
}

/// All three are controllers, and n3 votes on although nobody can dial it.
fn over_its_own_link(cluster: &Cluster) -> Result<()> {
    wait_for("n2 to reach n3 over the link of n3, which is ready", LIMIT, || {
        let said = cluster.acpctl(At::N2, &["--node", "n3", "--trace", "--timeout", "8s", "status"]);
        let said = said.map_err(|error| format!("{error:#}"))?;
        if said.status == 0 && said.stderr.contains("relayed") { Ok(()) } else { Err(format!("{said:?}")) }
    })
}

/// Drops what arrives at n3's port, in a table of this case's own.
fn block(cluster: &Cluster, is_blocked: bool) -> Result<()> {
    let rule = format!(
        "add table inet blocked; add chain inet blocked input {{ type filter hook input priority -290; }}; \
         add rule inet blocked input tcp dport {AGENT_PORT} drop"
    );
    let rule = if is_blocked { rule.as_str() } else { "delete table inet blocked" };
    cluster.layout(At::N3).namespace().run(|| {
        let out = Command::new("nft").arg(rule).output().context("cannot run nft")?;
        ensure!(out.status.success(), "nft: {}", String::from_utf8_lossy(&out.stderr));
        Ok(())
    })
}

fn through_the_relay(cluster: &Cluster) -> Result<()> {
    // Links to n3 that stood are found to be dead; until then a call may end in its time.
    wait_for("n2 to reach n3 through n1", LIMIT, || {
        let said = cluster.acpctl(At::N2, &["--node", "n3", "--trace", "--timeout", "8s", "status"]);
        let said = said.map_err(|error| format!("{error:#}"))?;
        let is_relayed = said.status == 0 && said.stderr.contains("relayed") && said.stderr.contains("n1");
        if is_relayed { Ok(()) } else { Err(format!("{said:?}")) }
    })?;
    let asked = json!({ "service": "cluster", "node": "n3", "key": cluster.root_key(At::N2)? });
    let mut conversation = cluster.ask_to_open(At::N2, &asked)?.map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    for _call in 0..20 {
        let reply = conversation.call("acp.cluster.GetStatus", json!({}))?;
        ensure!(reply["error"].is_null(), "a relayed call: {reply}");
    }
    // n1 must not speak for others: without a key nothing is passed on, not even what any node may call.
    let asked = json!({ "service": "agent", "node": "n3" });
    match cluster.ask_to_open(At::N2, &asked)? {
        Err(_turned_away) => {}
        Ok(mut conversation) => {
            let answered = answer(conversation.call("acp.daemon.GetHealth", json!({}))?);
            denied(answered, "PermissionDenied").context("a relayed call without a key")?;
        }
    }
    // n1 itself reaches it over the same link, as the node that it is.
    let said = cluster
        .acpctl(At::N1, &["--node", "n3", "--timeout", &format!("{}s", Duration::from_secs(8).as_secs()), "status"])?;
    ensure!(said.status == 0, "n1 does not reach n3: {}", said.stderr);
    Ok(())
}
