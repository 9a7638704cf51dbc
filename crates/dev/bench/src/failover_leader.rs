//! F2 of the quorum: from the death of the leader's node to the next acknowledged write through another node, beside the death of
//! etcd's leader.
//!
//! A whole node of ours dies, with everything that would start its hub again; of etcd the leader's process.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{
    Setup,
    cluster::Cluster,
    etcd::{Client, Etcd, MEMBERS, within},
    figure::{Figure, Report, millis, percentile},
    registers::Registers,
};

/// The promise, in milliseconds.
const LIMIT: f64 = 3_000.0;
const SHARE: f64 = 0.95;
/// Deaths of a leader on each side.
const DEATHS: usize = 10;
/// How long one write may take until the next one is tried: a client that wants to go on asks again soon.
const PATIENCE: Duration = Duration::from_millis(500);
/// The pause after a write that failed at once.
const PAUSE: Duration = Duration::from_millis(10);
/// A control plane that does not come back by then will not.
const BACK_LIMIT: Duration = Duration::from_secs(60);

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, 3)?;
    let mut etcd = Etcd::start(setup.peers()?, &cluster)?;
    let registers = within(&cluster, async || Registers::declare(&cluster, 1).await)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _death in 0..DEATHS {
        ours.push(millis(our_leader_dies(&cluster, &registers)?));
        theirs.push(millis(their_leader_dies(&cluster, &mut etcd)?));
    }
    let (median, etcds) = (percentile(&mut ours, 0.5), percentile(&mut theirs, 0.5));
    let figures = vec![
        Figure::at_most("leader dead to next write, p95", percentile(&mut ours, SHARE), LIMIT, "ms"),
        Figure::shown("the same, etcd, p95", percentile(&mut ours, SHARE), percentile(&mut theirs, SHARE), "ms"),
        Figure::shown("the same, etcd, p50", median, etcds, "ms"),
    ];
    Ok(Report { bench: "failover-leader", figures })
}

fn our_leader_dies(cluster: &Cluster, registers: &Registers) -> Result<Duration> {
    let leader = cluster.leader()?;
    // Through the node after it.
    let caller = registers.caller(cluster, leader % MEMBERS, MEMBERS)?;
    let took = within(cluster, async || {
        caller.write("before").await?;
        let at = Instant::now();
        cluster.kill(leader)?;
        while caller.write_within("after", PATIENCE).await.is_err() {
            pause(at).await?;
        }
        Ok(at.elapsed())
    })?;
    cluster.start_again(leader)?;
    Ok(took)
}

fn their_leader_dies(cluster: &Cluster, etcd: &mut Etcd<'_>) -> Result<Duration> {
    let leader = etcd.leader()?;
    let address = etcd.address(leader % MEMBERS + 1)?;
    let took = within(cluster, async || {
        let mut client = Client::connect(address).await?;
        client.put(b"register", b"before").await?;
        let at = Instant::now();
        etcd.kill(leader);
        while !matches!(tokio::time::timeout(PATIENCE, client.put(b"register", b"after")).await, Ok(Ok(()))) {
            pause(at).await?;
        }
        Ok(at.elapsed())
    })?;
    etcd.start_again(leader)?;
    etcd.leader()?;
    Ok(took)
}

async fn pause(since: Instant) -> Result<()> {
    if since.elapsed() > BACK_LIMIT {
        bail!("nothing was acknowledged in {BACK_LIMIT:?}");
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}
