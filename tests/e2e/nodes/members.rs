//! Nodes that leave and come: the control plane away and back, a member out and in again, everything dead at once.

use std::time::{Duration, Instant};

use acp_dev_testkit::{node, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::traffic::Traffic;
use crate::{
    cluster::{At, Cluster},
    harness::Case,
    world::LIMIT,
};

/// The cases of nodes that leave and come. The last of them takes the guest with it.
pub(crate) const CASES: &[Case<Cluster>] = &[
    Case { name: "nodes::members_call_each_other_while_the_control_plane_is_away", run: hub_killed },
    Case { name: "nodes::members_that_left_are_strangers_and_join_again", run: leave_and_join },
];

/// The case that ends everything, for the end of all.
pub(crate) const POWER: &[Case<Cluster>] =
    &[Case { name: "nodes::members_are_one_cluster_again_after_all_lost_power", run: power }];

/// How long a killed hub may be away, and a member until it is listed as online again.
const BACK_LIMIT: Duration = Duration::from_secs(5);

fn hub_killed(cluster: &Cluster) -> Result<()> {
    let traffic = Traffic::new(cluster, At::N2, At::N3);
    let ((), tally) = traffic.beside(|| {
        let hub = cluster.unit(At::N1, "hub")?;
        let at = Instant::now();
        hub.signal(Signal::KILL)?;
        // It waits for whom it asks, within its time.
        cluster.run(At::N2, &["node", "list"])?;
        wait_for("another process to be the hub", LIMIT, || match cluster.unit(At::N1, "hub") {
            Ok(new) if new != hub => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
        wait_online(cluster, &["n1", "n2", "n3"])?;
        ensure!(at.elapsed() <= BACK_LIMIT * 2, "members were online again after {:?}", at.elapsed());
        traffic.wait_answers(10)
    })?;
    tally.is_unharmed()
}

/// Waits until the control plane lists exactly these nodes, all of them online.
fn wait_online(cluster: &Cluster, names: &[&str]) -> Result<()> {
    wait_for(&format!("{names:?} to be online"), LIMIT, || {
        let listed =
            cluster.call(At::N1, "hub", "acp.hub.ListNodes", json!({})).map_err(|error| format!("{error:#}"))?;
        let nodes = listed["nodes"].as_array().cloned().unwrap_or_default();
        let online =
            nodes.iter().filter(|node| node["online"] == true).filter_map(|node| node["node"]["name"].as_str());
        if online.eq(names.iter().copied()) && nodes.len() == names.len() { Ok(()) } else { Err(listed.to_string()) }
    })
}

fn leave_and_join(cluster: &Cluster) -> Result<()> {
    let node = cluster.status(At::N3)?["node"].clone();
    let key = cluster.root_key(At::N3)?;
    let before = cluster.names(At::N3, "network")?;
    leave(cluster, At::N3)?;
    wait_online(cluster, &["n1", "n2"])?;
    for (at, words) in [(At::N3, ["--node", "n1", "pool", "list"]), (At::N1, ["--node", "n3", "pool", "list"])] {
        let said = cluster.acpctl(at, &words)?;
        ensure!([2, 4].contains(&said.status), "{words:?} on {at:?} ended with {}: {}", said.status, said.stderr);
    }
    let asked = json!({ "service": "cluster", "node": "n1", "key": key });
    wait_for("the key of the root that left to be refused", LIMIT, || match cluster.ask_to_open(At::N2, &asked) {
        Ok(Err(refused)) if refused.code == "PermissionDenied" => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    cluster.run(At::N3, &["status"])?;
    ensure!(cluster.names(At::N3, "network")? == before, "what is on the node has changed");
    let started = Instant::now();
    join(cluster, At::N3)?;
    wait_online(cluster, &["n1", "n2", "n3"])?;
    ensure!(started.elapsed() <= BACK_LIMIT, "from token to member took {:?}", started.elapsed());
    ensure!(cluster.status(At::N3)?["node"] == node, "a node that kept its key is not known again by its id");
    ensure!(cluster.root_key(At::N3)? != key, "its root has the same key as before");
    cluster.run(At::N3, &["--node", "n2", "pool", "list"])?;
    cluster.run(At::N2, &["--node", "n3", "pool", "list"])?;
    Ok(())
}

/// Takes a node out of the cluster.
pub(super) fn leave(cluster: &Cluster, at: At) -> Result<()> {
    cluster.run(at, &["--yes", "node", "leave"])?;
    let status = cluster.status(at)?;
    ensure!(status["cluster"].is_null(), "it left and is still a member: {status}");
    Ok(())
}

/// Brings a node into the cluster with a token of its own.
pub(super) fn join(cluster: &Cluster, at: At) -> Result<()> {
    let token = cluster.json(At::N1, &["node", "token", "create"])?;
    let text = token["text"].as_str().context("a token has a text")?;
    let address = cluster.member(At::N1).address().to_string();
    let join = |more: &[&str]| -> Result<String> {
        let mut command = node::acpctl_command(cluster.layout(at));
        let out = command.args(["node", "join", &address]).args(more).env("ACP_TOKEN", text).output()?;
        ensure!(out.status.success(), "node join {more:?}: {}", String::from_utf8_lossy(&out.stderr));
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    join(&["--plan"])?;
    ensure!(cluster.status(at)?["cluster"].is_null(), "a plan was carried out");
    join(&[])?;
    let again = cluster.json(At::N1, &["node", "token", "list"])?;
    ensure!(again.as_array().is_some_and(Vec::is_empty), "a token that was used up is still listed: {again}");
    cluster.wait_united()
}

/// Everything acknowledged is there again: members, keys, and calls between any two of them.
fn power(cluster: &Cluster) -> Result<()> {
    let made = cluster.json(At::N2, &["key", "create", "lasting", "--scope", "read"])?;
    let key = made["secret"].as_str().context("a key has a secret")?.to_owned();
    let nodes = cluster.json(At::N1, &["node", "list"])?.as_array().map(Vec::len);
    let revision = cluster.status(At::N1)?["revision"].as_u64();
    cluster.lose_power()?;
    cluster.wait_united()?;
    wait_online(cluster, &["n1", "n2", "n3"])?;
    ensure!(cluster.json(At::N1, &["node", "list"])?.as_array().map(Vec::len) == nodes, "other members than before");
    ensure!(cluster.status(At::N3)?["revision"].as_u64() >= revision, "n3 has an older directory than before");
    for from in At::ALL {
        for to in At::ALL.into_iter().filter(|to| *to != from) {
            let asked = json!({ "service": "cluster", "node": to.name(), "key": key });
            let opened = cluster.ask_to_open(from, &asked)?;
            ensure!(opened.is_ok(), "from {from:?} to {to:?}: {:?}", opened.err());
            cluster.run(from, &["--node", to.name(), "status"])?;
        }
    }
    cluster.run(At::N1, &["--yes", "key", "revoke", "lasting"]).map(drop)
}
