//! F3 of the database everywhere: what a domain of 100, 300 and 1,000 nodes costs each of them while all change as much.
//!
//! Deliberately not here: sockets. A thousand nodes would be a thousand processes: real replication runs on virtual time
//! (`crates/dev/domain`), and its real datagrams are opened with real keys.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_dev_domain::scale::{Cost, SLOTS, VALUE_BYTES, domain, measure};
use acp_io_datagram::{Arrival, Channel, GroupKey, Identity, KeyRing, Opener, Path, Sealer, limits::MTU_BYTES};
use anyhow::{Context as _, Result, anyhow};

use crate::{
    cpu,
    figure::{Figure, Report},
};

/// Sizes of the domain.
const NODES: [usize; 3] = [100, 300, 1_000];

/// How many times what the smallest domain sends a node of a larger one may send: digests and summaries have jitter.
const GROWTH_MAX: f64 = 1.1;

/// The loss under which is measured beside none, in percent.
const LOSS: u64 = 10;

/// Seconds in which the datagrams were received that are opened.
const SECONDS: f64 = 4.0;

/// Measures it.
pub fn run() -> Result<Report> {
    let mut figures = Vec::new();
    let mut smallest: Option<Cost> = None;
    for nodes in NODES {
        let before = resident_bytes()?;
        let mut world = domain(nodes);
        let memory = resident_bytes()?.saturating_sub(before);
        let calm = measure(&mut world, 0).map_err(|difference| anyhow!(difference))?;
        let lossy = measure(&mut world, LOSS).map_err(|difference| anyhow!(difference))?;
        drop(world);
        let opening = opening(&calm)?;
        let first = smallest.get_or_insert_with(|| calm.clone());
        figures.extend(of(nodes, &calm, first));
        let name = |what: &str| format!("{nodes} nodes: {what}");
        figures.extend([
            Figure::measured(&name("bytes a node sends, 10 % loss"), lossy.bytes, "B/s"),
            Figure::measured(&name("datagrams a node sends, 10 % loss"), lossy.datagrams, "1/s"),
            Figure::measured(&name("until all hold the last change, 10 % loss"), lossy.equal_ms as f64, "ms"),
            Figure::measured(&name("memory of a node's replica"), memory as f64 / nodes as f64 / 1e6, "MB"),
            Figure::measured(&name("taking in what all say, cpu"), percent(calm.receive), "percent"),
            Figure::measured(&name("opening it, cpu"), percent(opening), "percent"),
        ]);
    }
    Ok(Report { bench: "scale", figures })
}

/// What is sent without loss: as much as in the smallest domain.
fn of(nodes: usize, calm: &Cost, smallest: &Cost) -> [Figure; 3] {
    let name = |what: &str| format!("{nodes} nodes, {SLOTS} slots of {VALUE_BYTES} B a second each: {what}");
    let limit = |of: f64| of * GROWTH_MAX;
    [
        Figure::at_most(&name("bytes a node sends"), calm.bytes, limit(smallest.bytes), "B/s"),
        Figure::at_most(&name("datagrams a node sends"), calm.datagrams, limit(smallest.datagrams), "1/s"),
        Figure::measured(&name("until all hold the last change"), calm.equal_ms as f64, "ms"),
    ]
}

/// Processor's time for opening what a node receives in a second, sealed by its senders.
fn opening(cost: &Cost) -> Result<Duration> {
    let ring = KeyRing::new(GroupKey::generate(1)?);
    let identity = |node| Identity { cluster: Uid::from_u128(1), node };
    let mut sealers = BTreeMap::new();
    let mut sealed = Vec::with_capacity(cost.received.len());
    for (from, payload) in &cost.received {
        if !sealers.contains_key(from) {
            sealers.insert(*from, Sealer::new(identity(*from), 1, &ring)?);
        }
        let sealer = sealers.get_mut(from).context("it was just put there")?;
        let mut datagram = Vec::with_capacity(MTU_BYTES);
        sealer.seal(Path::Multicast, Channel::Sync, payload, &mut datagram)?;
        sealed.push(datagram);
    }
    let mut opener = Opener::new(identity(Uid::from_u128(0)), ring);
    let from = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1);
    let began = cpu::of_thread()?;
    for bytes in &mut sealed {
        let arrival = Arrival { bytes, from, path: Path::Multicast };
        opener.open(BootInstant::from_millis(1), arrival).map_err(|refusal| anyhow!("{refusal:?}"))?;
    }
    Ok(cpu::of_thread()?.saturating_sub(began).div_f64(SECONDS))
}

fn percent(of_a_second: Duration) -> f64 {
    100.0 * of_a_second.as_secs_f64()
}

/// What this process has in memory.
fn resident_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1_024)
}
