//! S5: everything stands still for longer than a lease lives: who had leases may not go on as if nothing had been.

use std::{thread, time::Duration};

use acp_dev_testkit::{node, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    five::{FAILOVER_LIMIT, Five, HOST, LIMIT},
    s2_cuts::wait_writes,
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] =
    &[Case { name: "quorum::s5_after_a_suspend_of_all_leases_are_exclusive_and_the_cluster_goes_on", run: suspended }];

/// Longer than a session lives.
const SUSPENDED: Duration = Duration::from_secs(9);
/// The guest that needs a lease.
const GUEST: &str = "sleeper";

fn suspended(five: &Five) -> Result<()> {
    let create = ["system", "create", GUEST, "--image", "demo", "--memory", "64MiB", "--floating", "--wait"];
    five.run(HOST, &create)?;
    five.run(HOST, &["system", "start", GUEST, "--wait"])?;
    let before = term(five)?;
    five.lab().each(|member| node::freeze(&member.layout, true))?;
    thread::park_timeout(SUSPENDED);
    five.lab().each(|member| node::freeze(&member.layout, false))?;
    wait_writes(five, 1, FAILOVER_LIMIT * 2)?;
    // Either its node has the lease under a term that was granted since, and runs it, or it runs nowhere.
    wait_for("lease and guest to agree", LIMIT, || {
        let shown = five.json(HOST, &["system", "show", GUEST]).map_err(|error| format!("{error:#}"))?;
        let state = shown["status"]["state"].as_str().unwrap_or_default().to_owned();
        let holder = lease(five).map_err(|error| format!("{error:#}"))?;
        let has_it = holder["node"] == format!("n{HOST}");
        if (state == "running") == has_it { Ok(()) } else { Err(format!("{shown} under {holder}")) }
    })?;
    ensure!(term(five)? >= before, "the term went back");
    five.wait_agreed()?;
    five.run(HOST, &["--yes", "system", "stop", GUEST, "--wait"])?;
    five.run(HOST, &["--yes", "system", "delete", GUEST, "--wait"]).map(drop)
}

/// What the cluster knows of the guest's lease.
fn lease(five: &Five) -> Result<Value> {
    let listed = five.call(1, "cluster", "acp.cluster.ListLeases", serde_json::json!({}))?;
    let leases = listed["leases"].as_array().context("a list of leases")?;
    let own: Vec<&Value> = leases.iter().filter(|lease| lease["name"] == GUEST).collect();
    ensure!(own.len() == 1, "the guest has not one lease: {listed}");
    Ok(own[0].clone())
}

fn term(five: &Five) -> Result<u64> {
    lease(five)?["term"].as_u64().context("a lease has a term")
}
