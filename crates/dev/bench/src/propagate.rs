//! F1 of the database everywhere: from publishing a slot on one node to the watcher's event on another one, idle and while the
//! others publish, beside a put and a watch of etcd in the same networks.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use acp_io_client::Client;
use acp_wire_api::cluster::{Watch, WatchRequest};
use acp_wire_model::Kind;
use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    Setup,
    cluster::Cluster,
    etcd::{self, Etcd, within},
    figure::{Figure, Report, millis, percentile},
    watch::{Publisher, job, wait_percent, wait_synced},
};

/// Nodes: the first publishes, the last watches, those between make the load.
const NODES: usize = 5;
const LAST: usize = NODES;
/// Publications measured each time.
const PUBLICATIONS: u64 = 1_000;
/// An event that has not come by then is lost.
const EVENT_WAIT: Duration = Duration::from_secs(10);
/// The promises, in milliseconds.
const MEDIAN_LIMIT: f64 = 2.0;
const TAIL_LIMIT: f64 = 50.0;
/// The load: slots a second in the whole cluster, each on its own way to every node; so many in one call.
const LOAD: u32 = 10_000;
const BATCH: u32 = 20;
/// Slots of each node that makes load.
const LOADED: u32 = 1_000;

/// Measures it.
pub fn run(setup: &Setup) -> Result<Report> {
    let cluster = Cluster::start(&setup.bin, NODES)?;
    let etcd = Etcd::start(setup.peers()?, &cluster)?;
    within(&cluster, async || measure(&cluster, &etcd).await)
}

async fn measure(cluster: &Cluster, etcd: &Etcd<'_>) -> Result<Report> {
    let mut theirs = etcd_events(etcd).await?;
    let mut idle = events(cluster, 1).await?;
    let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let measured = async {
        let events = events(cluster, PUBLICATIONS + 1).await;
        stop.store(true, Ordering::Relaxed);
        events
    };
    let nodes = 2..LAST;
    let each = LOAD / u32::try_from(nodes.len())?;
    let load = futures_util::future::try_join_all(nodes.map(|node| load(cluster, node, each, &stop, &published)));
    let (busy, loaded) = tokio::join!(measured, load);
    loaded?;
    let mut busy = busy?;
    let elapsed = u32::try_from(started.elapsed().as_millis())?;
    let rate = f64::from(u32::try_from(published.load(Ordering::Relaxed))?) / f64::from(elapsed) * 1_000.0;
    let (median, tail) = (percentile(&mut theirs, 0.5), percentile(&mut theirs, 0.99));
    let figures = vec![
        Figure::at_most("publish on n1 to event on n5, idle, p50", percentile(&mut idle, 0.5), MEDIAN_LIMIT, "ms"),
        Figure::at_most("the same, p99", percentile(&mut idle, 0.99), TAIL_LIMIT, "ms"),
        Figure::shown("the same beside etcd's put to watch, p50", percentile(&mut idle, 0.5), median, "ms"),
        Figure::shown("the same, p99", percentile(&mut idle, 0.99), tail, "ms"),
        Figure::at_most("while the others publish, p50", percentile(&mut busy, 0.5), MEDIAN_LIMIT, "ms"),
        Figure::at_most("the same, p99", percentile(&mut busy, 0.99), TAIL_LIMIT, "ms"),
        Figure::measured("slots the others published meanwhile", rate, "1/s"),
    ];
    Ok(Report { bench: "propagate", figures })
}

/// The times from calling `Publish` on the first node to receiving its event on the last one, in milliseconds.
async fn events(cluster: &Cluster, first: u64) -> Result<Vec<f64>> {
    let (here, there) = (client(cluster, 1)?, client(cluster, LAST)?);
    let mut publisher = Publisher::new(here)?;
    let request = WatchRequest { kinds: vec![Kind::Job], cursor: None, without_stats: false, here: Some(false) };
    let mut replies = there.service("cluster").stream::<Watch>(request).await?;
    wait_synced(&mut replies).await?;
    let mut times = Vec::new();
    for round in first..first + PUBLICATIONS {
        let started = Instant::now();
        let event = async {
            wait_percent(&mut replies, round).await?;
            anyhow::Ok(millis(started.elapsed()))
        };
        let (published, seen) = tokio::join!(publisher.publish(vec![job(0, round)]), timeout(EVENT_WAIT, event));
        published?;
        times.push(seen.with_context(|| format!("no event came for publication {round}"))??);
    }
    Ok(times)
}

/// Publishes on a node, so many slots a second, until it is stopped.
async fn load(cluster: &Cluster, node: usize, rate: u32, stop: &AtomicBool, published: &AtomicU64) -> Result<()> {
    let mut publisher = Publisher::new(client(cluster, node)?)?;
    let own = u32::try_from(node)? * LOADED;
    let mut period = interval(Duration::from_secs(1) * BATCH / rate);
    // Calls that were late are made up for: the rate counts.
    period.set_missed_tick_behavior(MissedTickBehavior::Burst);
    // Above what is measured, which waits for a value that nobody else says.
    let mut percent = u64::MAX / 2;
    let mut next = 0;
    while !stop.load(Ordering::Relaxed) {
        period.tick().await;
        percent += 1;
        let jobs = (0..BATCH).map(|number| job(own + (next + number) % LOADED, percent)).collect();
        next = (next + BATCH) % LOADED;
        publisher.publish(jobs).await?;
        published.fetch_add(u64::from(BATCH), Ordering::Relaxed);
    }
    Ok(())
}

fn client(cluster: &Cluster, node: usize) -> Result<Client> {
    Ok(Client::new(cluster.member(node)?.layout.run()))
}

/// The times from a put at one member of etcd to the event at another one, in milliseconds.
async fn etcd_events(etcd: &Etcd<'_>) -> Result<Vec<f64>> {
    let mut writer = etcd::Client::connect(etcd.address(1)?).await?;
    let mut watch = etcd::Watch::open(etcd.address(etcd::MEMBERS)?, b"slot").await?;
    let mut times = Vec::new();
    for round in 0..PUBLICATIONS {
        let value = serde_json::to_vec(&job(0, round).data)?;
        let started = Instant::now();
        let event = async {
            watch.next().await?;
            anyhow::Ok(millis(started.elapsed()))
        };
        let (put, seen) = tokio::join!(writer.put(b"slot", &value), timeout(EVENT_WAIT, event));
        put?;
        times.push(seen.context("etcd told no event")??);
    }
    Ok(times)
}
