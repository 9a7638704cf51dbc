//! S6: a cluster that goes back to what a backup held: its node begins a new epoch, its guests run on, and the others come to it.

use std::{fs, thread};

use acp_dev_testkit::{node, process::Identity, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    five::{Five, HOST, LIMIT, others},
    s3_joins::is_whole,
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] = &[Case {
    name: "quorum::s6_a_cluster_goes_back_to_its_backup_with_its_guests_and_the_others_rejoin",
    run: restored,
}];

/// A guest that the backup knows.
const KEPT: &str = "kept";
/// One that was made after it.
const LATER: &str = "later";

fn restored(five: &Five) -> Result<()> {
    let kept = start(five, KEPT)?;
    let before = five.quorum(HOST)?.epoch;
    let file = five.member(HOST).layout.state().with_extension("backup");
    let path = file.to_str().context("a lab's path is UTF-8")?;
    five.run(HOST, &["cluster", "backup", path])?;
    let later = start(five, LATER)?;
    five.run(1, &["pool", "create", LATER])?;

    let refused = five.acpctl(HOST, &["--yes", "cluster", "restore", path])?;
    ensure!(refused.stderr.contains("it has to leave first"), "other voters would go on without it: {refused:?}");
    five.run(HOST, &["--yes", "node", "leave", "--force"])?;
    let plan = five.run(HOST, &["cluster", "restore", path, "--plan"])?;
    ensure!(plan.contains("cluster lab begins anew") && plan.contains("5 members"), "{plan}");
    five.run(HOST, &["--yes", "cluster", "restore", path])?;
    fs::remove_file(&file)?;

    let epoch = five.quorum(HOST)?.epoch;
    ensure!(epoch != before && five.status(HOST)?["epoch"] == epoch, "{epoch} after {before}");
    let systems = five.json(HOST, &["system", "list"])?;
    let names: Vec<_> = systems.as_array().into_iter().flatten().map(|one| one["name"].to_string()).collect();
    ensure!(names == ["\"kept\""], "the systems are not those of the backup: {names:?}");
    is_orphan(five, LATER)?;

    rejoin_all(five)?;
    is_whole(five)?;
    for number in others(&[]) {
        ensure!(five.status(number)?["epoch"] == epoch, "n{number} is in another epoch than {epoch}");
    }
    let asked = json!({ "kind": "pool", "name": LATER, "node": "n1" });
    let gone = five.call(2, "cluster", "acp.cluster.Get", asked);
    ensure!(gone.is_err(), "what was declared after the backup is there still: {gone:?}");
    ensure!(kept.is_alive() && later.is_alive(), "a guest has ended: {}, {}", kept.is_alive(), later.is_alive());
    for name in [LATER, KEPT] {
        five.run(HOST, &["--yes", "system", "stop", name, "--wait"])?;
        five.run(HOST, &["--yes", "system", "delete", name, "--wait"])?;
    }
    Ok(())
}

/// Makes a guest and starts it; answers its machine.
pub(super) fn start(five: &Five, name: &str) -> Result<Identity> {
    five.run(HOST, &["system", "create", name, "--image", "demo", "--memory", "64MiB", "--wait"])?;
    five.run(HOST, &["system", "start", name, "--wait"])?;
    let shown = five.json(HOST, &["system", "show", name])?;
    let uid = shown["uid"].as_str().context("a system has a uid")?.replace('-', "");
    five.unit(HOST, &format!("qemu@{uid}"))
}

/// Waits until the hypervisor says that nobody declares the system.
fn is_orphan(five: &Five, name: &str) -> Result<()> {
    wait_for(&format!("{name} to be an orphan"), LIMIT, || {
        let health = five.call(HOST, "hypervisor", "acp.daemon.GetHealth", json!({}));
        let health = health.map_err(|error| format!("{error:#}"))?;
        let reason = health["reason"].as_str().unwrap_or_default();
        if reason.contains(&format!(": {name} (")) { Ok(()) } else { Err(health.to_string()) }
    })
}

/// Every other node comes back, at once, with one token of the restored node.
fn rejoin_all(five: &Five) -> Result<()> {
    let made = five.json(HOST, &["node", "token", "create", "--uses", "4"])?;
    let token = made["text"].as_str().context("a token has a text")?;
    let address = five.member(HOST).address().to_string();
    let rejoin = |number: usize| {
        let mut command = node::acpctl_command(&five.member(number).layout);
        let out = command.args(["node", "rejoin", &address]).env("ACP_TOKEN", token).output()?;
        ensure!(out.status.success(), "n{number}: {}", String::from_utf8_lossy(&out.stderr).trim_end());
        Ok(())
    };
    thread::scope(|scope| {
        let coming: Vec<_> = others(&[HOST]).into_iter().map(|number| scope.spawn(move || rejoin(number))).collect();
        let come = |one: thread::ScopedJoinHandle<'_, Result<()>>| {
            one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        coming.into_iter().try_for_each(come)
    })
}
