//! F4 of nodes: from `acpctl node join` with a token until calls go both ways and the control plane says that the node is
//! online.

use std::time::{Duration, Instant};

use acp_dev_testkit::{node::acpctl_command, wait_for};
use acp_wire_api::hub::{self, ListNodes, NodeFilter};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    Setup, block_on,
    cluster::Cluster,
    figure::{Figure, Report, millis, percentile},
    remote_call::call,
};

/// The promise for every join, in milliseconds.
const LIMIT: f64 = 2_000.0;
/// Joins measured.
const JOINS: usize = 9;
/// A node that is not in its cluster, or out of it, by then will not be.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, 2)?;
    let mut times = Vec::new();
    for _ in 0..JOINS {
        leave(&cluster)?;
        times.push(join(&cluster)?);
    }
    let median = percentile(&mut times, 0.5);
    let figures = vec![
        Figure::at_most("token to usable, slowest", percentile(&mut times, 1.0), LIMIT, "ms"),
        Figure::at_most("token to usable, p50", median, LIMIT, "ms"),
    ];
    Ok(Report { bench: "join", figures })
}

/// Takes n2 out of the cluster, and waits until the control plane knows.
fn leave(cluster: &Cluster) -> Result<()> {
    cluster.run(2, &["--yes", "node", "leave"])?;
    wait_for("the end of n2's membership", SETTLE_LIMIT, || match is_online(cluster) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("n2 is a member".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    })
}

/// The milliseconds that it takes. The token is there before.
fn join(cluster: &Cluster) -> Result<f64> {
    let printed = cluster.run(1, &["--output", "json", "node", "token", "create"])?;
    let reply: Value = serde_json::from_str(&printed).with_context(|| format!("no JSON: {printed:?}"))?;
    let token = reply["text"].as_str().context("a token has a text")?;
    let address = cluster.member(1)?.address().to_string();
    let started = Instant::now();
    let mut command = acpctl_command(&cluster.member(2)?.layout);
    let said = command.args(["node", "join", &address]).env("ACP_TOKEN", token).output()?;
    ensure!(said.status.success(), "acpctl node join: {}", String::from_utf8_lossy(&said.stderr).trim_end());
    wait_for("n2 to be usable", SETTLE_LIMIT, || is_usable(cluster).map_err(|error| format!("{error:#}")))?;
    Ok(millis(started.elapsed()))
}

/// Whether n2 is a member, and if so, online.
fn is_online(cluster: &Cluster) -> Result<Option<bool>> {
    let client = acp_io_client::Client::new(cluster.member(1)?.layout.run());
    let look = async { Ok(client.service("hub").deadline(LOOK_LIMIT).call::<ListNodes>(NodeFilter::default()).await?) };
    let hub::ListNodesReply { nodes, .. } = block_on(look)?;
    Ok(nodes.iter().find(|presence| presence.node.name.as_str() == "n2").map(|presence| presence.online))
}

fn is_usable(cluster: &Cluster) -> Result<()> {
    if is_online(cluster)? != Some(true) {
        bail!("the control plane does not see n2");
    }
    let (there, back) = (cluster.client(1, 2)?, cluster.client(2, 1)?);
    let look = async {
        call(&there).await.context("from n1 to n2")?;
        call(&back).await.context("from n2 to n1")
    };
    block_on(async { tokio::time::timeout(LOOK_LIMIT, look).await.context("a call does not come back")? })
}
