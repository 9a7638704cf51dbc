//! S6: what comes back from the past: a node with yesterday's disk, and the majority of an epoch that has ended.

use std::{path::Path, process::Command, time::Duration};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    five::{Five, LIMIT, NODES, others},
    s2_cuts::wait_writes,
    s3_joins::is_whole,
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] = &[
    Case { name: "quorum::s6_a_voter_with_an_old_disk_is_not_served_as_current", run: old_disk },
    Case { name: "quorum::s6_a_survivor_begins_a_new_epoch_and_the_old_majority_comes_to_it", run: new_epoch },
];

/// How long an old node may take until it is what it should be.
const CURRENT_LIMIT: Duration = Duration::from_secs(60);

/// Copies a directory as it is.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("--archive").arg("--no-target-directory").args([from, to]).status()?;
    ensure!(status.success(), "cp ended with {status}");
    Ok(())
}

/// Power is lost, and the disk of an hour ago is put in.
fn old_disk(five: &Five) -> Result<()> {
    let leader = five.leader()?;
    let old = others(&[leader, 1])[0];
    let state = five.member(old).layout.state();
    let kept = state.with_extension("old");
    five.kill(old)?;
    copy(&state, &kept)?;
    five.start_again(old)?;
    wait_writes(five, old, LIMIT)?;
    let written = write_pool(five, 1, "newer")?;
    five.wait_agreed()?;
    five.kill(old)?;
    std::fs::remove_dir_all(&state)?;
    std::fs::rename(&kept, &state)?;
    five.start_again(old)?;
    // It may answer that it does not know the pool for as long as it says that it is behind; then it knows.
    wait_for("the old node to be current", CURRENT_LIMIT, || {
        let status = five.status(old).map_err(|error| format!("{error:#}"))?;
        let is_current = status["index"].as_u64() >= Some(written) && status["degraded"] == "";
        if is_current { Ok(()) } else { Err(status.to_string()) }
    })?;
    let got = json!({ "kind": "pool", "name": "newer", "node": "n1" });
    five.call(old, "cluster", "acp.cluster.Get", got).context("what was acknowledged is lost")?;
    delete_pool(five, 1, "newer")?;
    is_whole(five)
}

/// Declares a pool on its node; answers the index.
fn write_pool(five: &Five, number: usize, name: &str) -> Result<u64> {
    let spec = json!({ "driver": "directory", "node": format!("n{number}") });
    let asked = json!({ "kind": "pool", "name": name, "spec": spec });
    let made = five.call(number, "cluster", "acp.cluster.Create", asked)?;
    made["index"].as_u64().context("an index")
}

/// Takes it back.
fn delete_pool(five: &Five, number: usize, name: &str) -> Result<()> {
    let asked = json!({ "kind": "pool", "name": name, "node": format!("n{number}") });
    let got = five.call(number, "cluster", "acp.cluster.Get", asked)?;
    let asked = json!({ "kind": "pool", "uid": got["object"]["uid"] });
    five.call(number, "cluster", "acp.cluster.Delete", asked).map(drop)
}

/// All but one of five are lost for good; the one that is left begins anew, and then the others come back.
fn new_epoch(five: &Five) -> Result<()> {
    let (survivor, lost) = (1, [2, 3, 4, 5]);
    write_pool(five, survivor, "kept")?;
    five.wait_agreed()?;
    let before = five.quorum(survivor)?.epoch;
    lost.into_iter().try_for_each(|number| five.kill(number))?;
    five.wait_degraded(survivor, true)?;
    five.run(survivor, &["--yes", "hub", "recover"])?;
    wait_writes(five, survivor, LIMIT)?;
    let epoch = five.quorum(survivor)?.epoch;
    ensure!(epoch != before, "the epoch is {before} still");
    let written = write_pool(five, survivor, "after")?;
    // Together they are a majority of what was: they must not go on with it.
    lost.into_iter().try_for_each(|number| five.start_again(number))?;
    for number in NODES {
        wait_for(&format!("n{number} to be in the new epoch"), CURRENT_LIMIT, || {
            let status = five.status(number).map_err(|error| format!("{error:#}"))?;
            let is_new = status["epoch"] == epoch && status["index"].as_u64() >= Some(written);
            if is_new { Ok(()) } else { Err(status.to_string()) }
        })?;
        five.call(number, "cluster", "acp.cluster.Get", json!({ "kind": "pool", "name": "kept", "node": "n1" }))?;
    }
    for pool in ["kept", "after"] {
        delete_pool(five, survivor, pool)?;
    }
    is_whole(five)
}
