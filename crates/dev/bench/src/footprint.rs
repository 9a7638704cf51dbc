//! Memory of the daemons of a node that is a cluster of one: idle (F5 of nodes), and after 100,000 writes (F5 of the quorum); and of
//! a vmm beside its QEMU (F3).
//!
//! One node alone: programs that two nodes of a machine run would count half for each. Memory is the proportional set size: pages
//! that several processes map count once in all. Of five nodes (F4 of the database everywhere) the pages of files of all of them are
//! counted for the one that takes most: it would have them alone on a machine of its own.

use std::{collections::BTreeSet, path::Path, time::Duration};

use acp_dev_testkit::{Layout, Node, cgroup, process, record::Record, wait_for};
use acp_io_client::Client;
use anyhow::{Context as _, Result};

use crate::{
    Setup, block_on,
    cluster::Cluster,
    figure::{Figure, Report, megabytes},
    load, node,
    registers::{Caller, Registers},
};

/// The promise for the daemons of an idle node, in MB.
const DAEMONS_LIMIT: f64 = 85.0;
/// The promise for them after many writes, in MB.
const WRITTEN_LIMIT: f64 = 95.0;
/// How many, by so many writers at once, to so many objects.
const WRITES: u64 = 100_000;
const WRITERS: usize = 64;
const OBJECTS: usize = 64;
/// How long they write at a time.
const BATCH: Duration = Duration::from_secs(5);
/// The promise for a vmm, in MB.
const VMM_LIMIT: f64 = 8.0;
/// The promise for a node in a cluster of so many, in MB.
const NODES: usize = 5;
const CLUSTER_LIMIT: f64 = 100.0;
/// How long the node may take to come to rest.
const REST_LIMIT: Duration = Duration::from_secs(20);
/// The node rests when as many looks in a row saw the same processes with the same memory, to a MiB.
const RESTING_LOOKS: u32 = 25;

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let node = node(&setup.bin)?;
    node.run(&["pool", "create", "default"])?;
    node.run(&["network", "create", "default", "--address", "10.77.0.1/24"])?;
    node.run(&["cluster", "init", "--address", "10.77.0.1"])?;
    let daemons = at_rest(&node)?;
    node.run(&["image", "import", "demo", setup.image()?, "--wait"])?;
    node.run(&["system", "create", "demo", "--image", "demo", "--network", "default", "--wait"])?;
    node.run(&["system", "start", "demo", "--wait"])?;
    let vmm = node.processes().into_iter().find(|process| process::name(process.pid) == "acp-vmm");
    let vmm = process::pss_bytes(vmm.context("the running system has no vmm")?.pid)?;
    node.run(&["--yes", "system", "stop", "demo", "--wait"])?;
    block_on(write(&node))?;
    let written = at_rest(&node)?;
    drop(node);
    let of_five = of_five(&setup.bin)?;
    let figures = vec![
        Figure::at_most("daemons after 100,000 writes, PSS", megabytes(written), WRITTEN_LIMIT, "MB"),
        Figure::at_most("daemons of an idle node, PSS", megabytes(daemons), DAEMONS_LIMIT, "MB"),
        Figure::at_most("daemons of a node among five, PSS", megabytes(of_five), CLUSTER_LIMIT, "MB"),
        Figure::at_most("a vmm, PSS", megabytes(vmm), VMM_LIMIT, "MB"),
    ];
    Ok(Report { bench: "footprint", figures })
}

/// The memory of the node that takes most in a cluster of five, once all of it changes no more.
fn of_five(bin: &Path) -> Result<u64> {
    let cluster = Cluster::start(bin, NODES)?;
    for node in 1..=NODES {
        cluster.run(node, &["pool", "create", "default"])?;
        cluster.run(node, &["network", "create", "default", "--address", &format!("10.77.{node}.1/24")])?;
    }
    resting(|| {
        let (mut own, mut files) = (0, 0);
        for node in 1..=NODES {
            let pids = pids(&cluster.member(node)?.layout)?;
            let file = sum(&pids, process::pss_file_bytes);
            files += file;
            own = own.max(sum(&pids, process::pss_bytes) - file);
        }
        Ok(own + files)
    })
}

/// Writes until the log is so much longer.
async fn write(node: &Node) -> Result<()> {
    let client = || Client::new(node.layout().run());
    let registers = Registers::declare_through(&client(), OBJECTS).await?;
    let mut writers: Vec<Caller> = (0..WRITERS).map(|number| registers.caller_through(client(), number)).collect();
    let target = writers[0].write("first").await? + WRITES;
    while writers[0].write("next").await? < target {
        load::run(&mut writers, BATCH, async |caller| caller.write("many").await.map(drop)).await?;
    }
    Ok(())
}

/// The memory of everything the node consists of, once it does not change any more.
fn at_rest(node: &Node) -> Result<u64> {
    resting(|| Ok(sum(&pids(node.layout())?, process::pss_bytes)))
}

fn resting(mut memory: impl FnMut() -> Result<u64>) -> Result<u64> {
    let mut last = 0;
    let mut equal = 0;
    wait_for("the node to come to rest", REST_LIMIT, || {
        let now = memory().map_err(|error| format!("{error:#}"))?;
        equal = if now >> 20 == last >> 20 { equal + 1 } else { 0 };
        last = now;
        if equal >= RESTING_LOOKS { Ok(now) } else { Err(format!("{now} bytes")) }
    })
}

/// Every process of a node, its guard among them.
fn pids(layout: &Layout) -> Result<BTreeSet<i32>> {
    let guard = Record::load(layout)?.context("the node was never started")?.guard;
    let mut pids: BTreeSet<i32> = cgroup::processes(&layout.name()).into_iter().map(|process| process.pid).collect();
    pids.insert(guard.pid);
    pids.extend(process::descendants(guard.pid));
    Ok(pids)
}

fn sum(pids: &BTreeSet<i32>, of: impl Fn(i32) -> Result<u64>) -> u64 {
    pids.iter().filter_map(|pid| of(*pid).ok()).sum()
}
