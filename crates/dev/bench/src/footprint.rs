//! Memory of the daemons of a node that is a cluster of one: idle (F5 of nodes), and after 100,000 writes (F5 of the quorum); and of
//! a vmm beside its QEMU (F3).
//!
//! One node alone: programs that two nodes of a machine run would count half for each. Memory is the proportional set size: pages that several processes map count once in all.

use std::{collections::BTreeSet, time::Duration};

use acp_dev_testkit::{Node, process, record::Record, wait_for};
use acp_io_client::Client;
use anyhow::{Context as _, Result};

use crate::{
    Setup, block_on,
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
    let figures = vec![
        Figure::at_most("daemons after 100,000 writes, PSS", megabytes(written), WRITTEN_LIMIT, "MB"),
        Figure::at_most("daemons of an idle node, PSS", megabytes(daemons), DAEMONS_LIMIT, "MB"),
        Figure::at_most("a vmm, PSS", megabytes(vmm), VMM_LIMIT, "MB"),
    ];
    Ok(Report { bench: "footprint", figures })
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
    let mut last = 0;
    let mut equal = 0;
    wait_for("the node to come to rest", REST_LIMIT, || {
        let now = memory(node).map_err(|error| format!("{error:#}"))?;
        equal = if now >> 20 == last >> 20 { equal + 1 } else { 0 };
        last = now;
        if equal >= RESTING_LOOKS { Ok(now) } else { Err(format!("{now} bytes")) }
    })
}

fn memory(node: &Node) -> Result<u64> {
    let guard = Record::load(node.layout())?.context("the node was never started")?.guard;
    let mut pids: BTreeSet<i32> = node.processes().into_iter().map(|process| process.pid).collect();
    pids.insert(guard.pid);
    pids.extend(process::descendants(guard.pid));
    Ok(pids.into_iter().filter_map(|pid| process::pss_bytes(pid).ok()).sum())
}
