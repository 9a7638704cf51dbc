//! The control plane's view of the nodes, asked for on nodes that are no controllers: metadata, a filter, and the stream.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
};

use acp_dev_testkit::{node, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    cluster::{At, Cluster},
    world::LIMIT,
};

/// n2 follows, n3 notes something of itself, which n2 finds and forgets again.
pub(super) fn seen_from_everywhere(cluster: &Cluster) -> Result<()> {
    let told = cluster.scratch("view")?.join("told");
    let mut command = node::acpctl_command(cluster.layout(At::N2));
    command.args(["-o", "json", "node", "list", "--follow", "--where", "rack=7"]).stderr(Stdio::null());
    let mut following = command.stdout(File::create(&told)?).spawn().context("cannot run acpctl")?;
    let outcome = noted_and_forgotten(cluster, &told);
    following.kill()?;
    following.wait()?;
    outcome
}

fn noted_and_forgotten(cluster: &Cluster, told: &Path) -> Result<()> {
    cluster.run(At::N3, &["node", "set", "n3", "rack=7", "zone=west"])?;
    wait_told(told, &["came"])?;
    let found = cluster.json(At::N2, &["node", "list", "--where", "rack=7", "--where", "zone=west", "--online"])?;
    let names: Vec<_> = found.as_array().into_iter().flatten().map(|node| node["name"].as_str()).collect();
    ensure!(names == [Some("n3")], "{found}");
    cluster.run(At::N2, &["node", "set", "n3", "--unset", "rack,zone"])?;
    wait_told(told, &["came", "went"])
}

/// Waits until exactly these changes of n3 were told.
fn wait_told(told: &Path, changes: &[&str]) -> Result<()> {
    wait_for(&format!("n2 to be told {changes:?}"), LIMIT, || {
        let text = fs::read_to_string(told).map_err(|error| error.to_string())?;
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let heard: Vec<_> =
            lines.iter().filter(|line| line["name"] == "n3").map(|line| line["change"].as_str()).collect();
        if heard.iter().copied().eq(changes.iter().map(|change| Some(*change))) { Ok(()) } else { Err(text) }
    })
}
