//! What the cluster is told of networks and of systems' interfaces.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Uid;
use acp_core_netplan::{Desired, DesiredTap, ObservedLink, bridge_link};
use acp_io_client::Reporter;
use acp_io_netlink::Stats;
use acp_wire_model::{
    Kind,
    network::{LinkStats, NetworkMeta, NetworkStats, TapMeta},
    object::Facet,
};

use crate::{observe::Observation, snapshot::NetworkStatus};

/// The slots of this service.
#[derive(Debug)]
pub(crate) struct Reports {
    reporter: Reporter,
    networks: BTreeSet<Uid>,
    systems: BTreeSet<Uid>,
}

impl Reports {
    pub(crate) fn new(reporter: Reporter) -> Self {
        Self { reporter, networks: BTreeSet::new(), systems: BTreeSet::new() }
    }

    /// Says how every network is; takes back what was said of networks that ended.
    pub(crate) fn networks(&mut self, statuses: &BTreeMap<Uid, NetworkStatus>, desired: &Desired, seen: &Observation) {
        for (uid, status) in statuses {
            let meta = meta(*uid, status, desired, seen);
            self.reporter.put(Kind::Network, *uid, None, Facet::Meta, &meta);
        }
        let now = statuses.keys().copied().collect();
        for ended in self.networks.difference(&now) {
            self.reporter.remove(Kind::Network, *ended);
        }
        self.networks = now;
    }

    /// Says the counters of every network's and every system's links.
    pub(crate) fn stats(&mut self, desired: &Desired, seen: &Observation) {
        for network in desired.networks.values() {
            let links = std::iter::once(network.link.as_str()).chain(present(desired.taps_of(network.uid), seen));
            self.reporter.put(Kind::Network, network.uid, None, Facet::Stats, &counters(links, seen));
        }
        let mut systems: BTreeMap<Uid, Vec<&str>> = BTreeMap::new();
        for tap in desired.taps.values().filter(|tap| is_present(tap, seen)) {
            systems.entry(tap.system).or_default().push(&tap.link);
        }
        for (uid, links) in &systems {
            self.reporter.put(Kind::System, *uid, None, Facet::Stats, &counters(links.iter().copied(), seen));
        }
        let now = systems.into_keys().collect();
        for ended in self.systems.difference(&now) {
            self.reporter.remove(Kind::System, *ended);
        }
        self.systems = now;
    }
}

fn meta(uid: Uid, status: &NetworkStatus, desired: &Desired, seen: &Observation) -> NetworkMeta {
    let taps = desired.taps_of(uid).filter(|tap| is_present(tap, seen));
    let tap = |tap: &DesiredTap| TapMeta { link: tap.link.clone(), system: tap.system_name.clone(), nic: tap.nic };
    NetworkMeta {
        state: status.state,
        reason: status.reason.clone(),
        link: bridge_link(uid),
        taps: taps.map(tap).collect(),
    }
}

/// Whether the tap is there and is what it should be.
pub(crate) fn is_present(tap: &DesiredTap, seen: &Observation) -> bool {
    seen.observed.link(&tap.link).and_then(ObservedLink::tap_of) == Some((tap.system, tap.nic))
}

fn present<'a>(taps: impl Iterator<Item = &'a DesiredTap>, seen: &Observation) -> impl Iterator<Item = &'a str> {
    taps.filter(|tap| is_present(tap, seen)).map(|tap| tap.link.as_str())
}

fn counters<'a>(links: impl Iterator<Item = &'a str>, seen: &Observation) -> NetworkStats {
    let known = links.filter_map(|link| seen.stats.get(link).map(|stats| link_stats(link, stats)));
    NetworkStats { links: known.collect() }
}

fn link_stats(link: &str, stats: &Stats) -> LinkStats {
    LinkStats {
        link: link.to_owned(),
        rx_bytes: stats.rx_bytes,
        rx_packets: stats.rx_packets,
        rx_dropped: stats.rx_dropped,
        tx_bytes: stats.tx_bytes,
        tx_packets: stats.tx_packets,
        tx_dropped: stats.tx_dropped,
    }
}
