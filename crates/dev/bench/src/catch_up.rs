//! F4 of the quorum: a node that is no voter was away for 100,000 entries: how long until it has them, and what that takes from
//! the network.

use std::time::{Duration, Instant};

use acp_dev_testkit::{varlink, wait_for};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    Setup,
    cluster::Cluster,
    etcd::within,
    figure::{Figure, Report, megabytes},
    load,
    registers::{Caller, Registers},
};

/// Entries that it misses.
const ENTRIES: u64 = 100_000;
/// Writers at once, and objects that they share.
const WRITERS: usize = 256;
const OBJECTS: usize = 64;
/// How long they write at a time.
const BATCH: Duration = Duration::from_secs(5);
/// The node that is away: the voters are n1 to n3.
const AWAY: usize = 4;
/// One that has not caught up by then will not.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, AWAY)?;
    let registers = within(&cluster, async || Registers::declare(&cluster, OBJECTS).await)?;
    cluster.kill(AWAY)?;
    let target = position(&cluster, 1)? + ENTRIES;
    within(&cluster, async || {
        let mut writers: Vec<Caller> =
            (0..WRITERS).map(|number| registers.caller(&cluster, number, 3)).collect::<Result<_>>()?;
        while position(&cluster, 1)? < target {
            load::run(&mut writers, BATCH, async |caller| caller.write("while it was away").await.map(drop)).await?;
        }
        Ok(())
    })?;
    let target = position(&cluster, 1)?;
    let before = received(&cluster)?;
    let from = Instant::now();
    cluster.start_again(AWAY)?;
    let ready = from.elapsed();
    wait_for("the node to catch up", LIMIT, || match position(&cluster, AWAY) {
        Ok(index) if index >= target => Ok(()),
        other => Err(format!("{other:?} of {target}")),
    })?;
    let figures = vec![
        Figure::measured("start of the node to all entries there", from.elapsed().as_secs_f64(), "s"),
        Figure::measured("of that, until its daemons were ready", ready.as_secs_f64(), "s"),
        Figure::measured("bytes that it received", megabytes(received(&cluster)? - before), "MB"),
    ];
    Ok(Report { bench: "catch-up", figures })
}

/// The last index that a node has.
fn position(cluster: &Cluster, number: usize) -> Result<u64> {
    let socket = cluster.member(number)?.layout.socket("cluster");
    let status: Value = varlink::call(&socket, "acp.cluster.GetStatus", json!({}))?;
    status["index"].as_u64().context("a status has an index")
}

/// What the node's link to the others has received.
fn received(cluster: &Cluster) -> Result<u64> {
    let text =
        cluster.member(AWAY)?.layout.namespace().run(|| Ok(std::fs::read_to_string("/proc/thread-self/net/dev")?))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lab0:")).context("the node has a link")?;
    Ok(line.split_whitespace().next().context("the first number")?.parse()?)
}
