//! What the cluster makes of a node, as its daemons show it: its name, and the units that its roles name.

use std::time::{Duration, Instant};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{
    five::{Five, HOST, LIMIT, name},
    s3_joins::is_whole,
    s6_restored::start,
};
use crate::harness::Case;

/// The cases of what a node is.
pub(crate) const CASES: &[Case<Five>] = &[
    Case { name: "quorum::roles_take_units_from_a_node_and_give_them_back", run: roles },
    Case { name: "quorum::a_renamed_node_is_called_so_by_all_its_daemons", run: renamed },
];

/// The node whose roles change: it has no guests.
const NODE: usize = 4;
/// The daemons that `compute` names.
const COMPUTE: [&str; 3] = ["hypervisor", "network", "storage"];
/// How long `acpctl status` may take on a node where nothing is silent.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

fn roles(five: &Five) -> Result<()> {
    let set = |nodes: &str| five.run(1, &["role", "set", "compute", "--nodes", nodes]);
    set("n1,n2,n3,n5")?;
    let listed = five.json(2, &["role", "list"])?;
    let compute = listed.as_array().into_iter().flatten().find(|role| role["name"] == "compute");
    let nodes = compute.context("compute is always there")?["nodes"].to_string();
    ensure!(nodes == "[\"n1\",\"n2\",\"n3\",\"n5\"]", "{nodes}");
    for unit in COMPUTE {
        wait_state(five, unit, "stopped")?;
    }
    let started = Instant::now();
    let status = five.json(NODE, &["status"])?;
    ensure!(started.elapsed() <= STATUS_LIMIT, "it took {:?}", started.elapsed());
    ensure!(status["ok"] == true, "a unit that is withheld is no problem: {}", status["problems"]);
    let said = five.acpctl(NODE, &["service", "start", "storage"])?;
    ensure!(said.status != 0 && said.stderr.contains("no role of this node"), "{said:?}");
    set("n1,n2,n3,n4,n5")?;
    for unit in COMPUTE {
        wait_state(five, unit, "ready")?;
    }
    is_whole(five)
}

fn wait_state(five: &Five, unit: &str, wanted: &str) -> Result<()> {
    wait_for(&format!("{unit} of n{NODE} to be {wanted}"), LIMIT, || match state(five, unit) {
        Ok(state) if state == wanted => Ok(()),
        other => Err(format!("{other:?}")),
    })
}

fn state(five: &Five, unit: &str) -> Result<String> {
    let listed = five.json(NODE, &["service", "list"])?;
    let found = listed.as_array().into_iter().flatten().find(|one| one["name"] == unit).context("no such unit")?;
    Ok(found["status"]["state"].as_str().unwrap_or_default().to_owned())
}

/// Runs on the node that gets another name.
const GUEST: &str = "unmoved";
/// The daemons that say how their node is called, the framework among them.
const DAEMONS: [&str; 8] = ["framework", "hub", "cluster", "storage", "network", "hypervisor", "agent", "api"];

fn renamed(five: &Five) -> Result<()> {
    let guest = start(five, GUEST)?;
    let (before, bridge) = (restarts(five)?, bridge(five)?);
    // One after the other, and then twice before the daemons have followed the first time.
    for names in [["n5", "far"].as_slice(), &["far", "near", "n5"]] {
        for step in names.windows(2) {
            five.run(1, &["node", "rename", step[0], step[1]])?;
        }
        let to = names[names.len() - 1];
        for noun in DAEMONS {
            wait_for(&format!("{noun} to be called {to}"), LIMIT, || {
                let health = five.call(HOST, noun, "acp.daemon.GetHealth", json!({}));
                let health = health.map_err(|error| format!("{error:#}"))?;
                let is_told = health["node"] == to && health["ready"] == true && health["reason"] == "";
                if is_told { Ok(()) } else { Err(health.to_string()) }
            })?;
        }
        let shown = five.run(1, &["--node", to, "--trace", "service", "list"])?;
        ensure!(shown.contains("network"), "{shown}");
        // The network daemon has started anew, and says that a network is up when it has found its DHCP server again.
        wait_for(&format!("the network of {to} to be up"), LIMIT, || {
            let network = five.json(1, &["--node", to, "network", "show", "default"]);
            let network = network.map_err(|error| format!("{error:#}"))?;
            let is_up = network["spec"]["node"] == to && network["status"]["state"] == "up";
            if is_up { Ok(()) } else { Err(network.to_string()) }
        })?;
        let shown = five.json(HOST, &["system", "show", GUEST])?;
        ensure!(shown["spec"]["node"] == to && shown["status"]["state"] == "running", "{shown}");
    }
    let after = restarts(five)?;
    ensure!(after == before, "a daemon has crashed: {before} before, {after} after");
    ensure!(guest.is_alive(), "the guest has ended");
    let now = self::bridge(five)?;
    ensure!(now == bridge, "the bridge was taken down in between: {bridge} before, {now} after");
    five.run(HOST, &["--yes", "system", "stop", GUEST, "--wait"])?;
    five.run(HOST, &["--yes", "system", "delete", GUEST, "--wait"])?;
    is_whole(five)
}

/// The bridge of the node's network, with its number in the kernel.
fn bridge(five: &Five) -> Result<String> {
    let shown = five.json(HOST, &["network", "show", "default"])?;
    let link = shown["status"]["link"].as_str().context("a network that is up has a link")?;
    let words = ["ip", "-oneline", "link", "show", link].map(str::to_owned);
    let out = five.lab().command(name(HOST)?, &words)?.output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.split('<').next().context("no link")?.to_owned())
}

/// How often each unit of the node ended unasked.
fn restarts(five: &Five) -> Result<Value> {
    let listed = five.json(HOST, &["service", "list"])?;
    let units = listed.as_array().into_iter().flatten();
    Ok(units
        .map(|one| (one["name"].as_str().unwrap_or_default().to_owned(), one["status"]["restarts"].clone()))
        .collect())
}
