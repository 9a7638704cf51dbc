//! S6: a node comes up with the disk of another cluster, under the name and at the address of a member: neither cluster takes it for
//! its own, and what runs on it runs on.

use std::{fs, path::Path};

use acp_dev_testkit::{objects, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    five::{Five, HOST, LIMIT, others},
    s2_cuts::wait_writes,
    s3_joins::is_whole,
};
use crate::{harness::Case, world::World};

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] =
    &[Case { name: "quorum::s6_a_disk_of_another_cluster_is_not_served_and_keeps_its_guests", run: foreign }];

/// The guest on the other cluster's disk.
const GUEST: &str = "stranger";

fn foreign(five: &Five) -> Result<()> {
    let number = others(&[five.leader()?, 1, HOST])[0];
    let state = five.member(number).layout.state();
    let own = state.with_extension("own");
    five.kill(number)?;
    fs::rename(&state, &own)?;
    let drilled = with_another_disk(five, number);
    let restored = give_back(five, number, &own);
    drilled.and(restored)
}

/// The disk of the member, in the place of the other one.
fn give_back(five: &Five, number: usize, own: &Path) -> Result<()> {
    five.kill(number)?;
    let state = five.member(number).layout.state();
    fs::remove_dir_all(&state)?;
    fs::rename(own, &state)?;
    five.start_again(number)?;
    wait_writes(five, number, LIMIT)?;
    is_whole(five)
}

fn with_another_disk(five: &Five, number: usize) -> Result<()> {
    let (leader, name) = (five.leader()?, format!("n{number}"));
    let (term, ours) = (five.quorum(leader)?.term, five.status(1)?["cluster"].clone());
    let guest = other_cluster(five, number)?;
    let theirs = five.status(number)?;
    ensure!(theirs["cluster"] != ours && theirs["degraded"] == "", "it has its own cluster: {theirs}");

    // The five do without it, and neither side takes the other's word for anything.
    wait_writes(five, 1, LIMIT)?;
    wait_for("the others to have knocked at its door", LIMIT, || {
        let asked = five.call(number, "agent", "acp.daemon.GetMetrics", json!({}));
        let text = asked.map_err(|error| format!("{error:#}"))?["text"].to_string();
        if text.contains("acp_agent_refused_total") { Ok(()) } else { Err("nobody was refused".to_owned()) }
    })?;
    wait_for("n1 to miss its member", LIMIT, || {
        let listed = five.json(1, &["node", "list"]).map_err(|error| format!("{error:#}"))?;
        let member = listed.as_array().into_iter().flatten().find(|one| one["name"] == *name);
        let state = member.map(|member| member["status"]["state"].clone()).unwrap_or_default();
        if ["down", "offline", "unknown"].iter().any(|missed| state == *missed) {
            Ok(())
        } else {
            Err(format!("it is {state}"))
        }
    })?;
    let said = five.acpctl(1, &["--node", &name, "--timeout", "4s", "system", "list"])?;
    ensure!(said.status != 0 && !said.stdout.contains(GUEST), "n1 was served: {said:?}");
    ensure!(objects::find(&five.member(1).layout, "system", GUEST)?.is_none(), "n1 knows its guest");
    let said = five.acpctl(number, &["--node", "n1", "--timeout", "4s", "system", "list"])?;
    ensure!(said.status != 0, "it was served by n1: {said:?}");
    let known = five.call(number, "cluster", "acp.cluster.Get", json!({ "kind": "node", "name": "n1" }));
    ensure!(known.is_err(), "it knows n1: {known:?}");
    let now = five.quorum(leader)?;
    ensure!(now.term == term && now.degraded.is_empty(), "term {term} became {now:?}");

    ensure!(guest.is_alive(), "its guest was ended");
    let shown = five.json(number, &["system", "show", GUEST])?;
    ensure!(shown["status"]["state"] == "running", "its guest is {}", shown["status"]);
    five.run(number, &["--yes", "system", "stop", GUEST, "--wait"]).map(drop)
}

/// A cluster of this node alone, with a guest.
fn other_cluster(five: &Five, number: usize) -> Result<Identity> {
    five.start_again(number)?;
    let member = five.member(number);
    five.run(number, &["cluster", "init", "other", "--address", &member.address().to_string()])?;
    let image = fs::canonicalize(World::image_path())?;
    objects::equip(&member.layout, image.to_str().context("the image's path is no UTF-8")?)?;
    five.run(number, &["system", "create", GUEST, "--image", "demo", "--memory", "64MiB", "--wait"])?;
    five.run(number, &["system", "start", GUEST, "--wait"])?;
    let shown = objects::find(&member.layout, "system", GUEST)?.context("the guest is declared")?;
    let uid = shown["uid"].as_str().context("a system has a uid")?.replace('-', "");
    five.unit(number, &format!("qemu@{uid}"))
}
