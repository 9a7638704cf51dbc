//! Reading the node as it is.

use std::{collections::BTreeMap, path::PathBuf};

use acp_core_netplan::{Cidr, Desired, LinkKind, Mac, Observed, ObservedLink};
use acp_io_netlink::{Kind, Link, Netlink, NetlinkError, Stats};

/// The node as it was read.
#[derive(Debug)]
pub(crate) struct Observation {
    /// What plans are made from.
    pub(crate) observed: Observed,
    /// The links' counters, by name.
    pub(crate) stats: BTreeMap<String, Stats>,
}

/// Reads every link, and the sysctls that `desired` may want to see.
pub(crate) async fn observe(netlink: &Netlink, desired: &Desired) -> Result<Observation, NetlinkError> {
    let links = netlink.links().await?;
    let stats = links.iter().map(|link| (link.name.clone(), link.stats)).collect();
    let sysctls = desired.sysctls().into_iter().filter_map(|key| sysctl(&key).map(|value| (key, value))).collect();
    Ok(Observation { observed: Observed { links: links.into_iter().map(observed_link).collect(), sysctls }, stats })
}

/// Reads every link and nothing else.
pub(crate) async fn links(netlink: &Netlink) -> Result<Observed, NetlinkError> {
    let links = netlink.links().await?.into_iter().map(observed_link).collect();
    Ok(Observed { links, sysctls: BTreeMap::new() })
}

/// The link of this name, if there is one.
pub(crate) async fn find(netlink: &Netlink, name: &str) -> Result<Option<ObservedLink>, NetlinkError> {
    let links = netlink.links().await?;
    Ok(links.into_iter().find(|link| link.name == name).map(observed_link))
}

/// Where a sysctl is written and read.
pub(crate) fn sysctl_path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(key)
}

fn sysctl(key: &str) -> Option<String> {
    std::fs::read_to_string(sysctl_path(key)).ok().map(|text| text.trim_end().to_owned())
}

fn observed_link(link: Link) -> ObservedLink {
    let kind = match link.kind {
        Kind::Bridge => LinkKind::Bridge,
        Kind::Tap => LinkKind::Tap,
        Kind::Other(word) => LinkKind::Other(word),
        Kind::Physical => LinkKind::Other("physical".to_owned()),
        Kind::Unknown => LinkKind::Unknown,
    };
    ObservedLink {
        index: link.index,
        name: link.name,
        kind,
        alias: link.alias,
        mac: link.mac.map(Mac),
        master: link.master,
        up: link.up,
        addresses: link.addresses.into_iter().map(|(address, prefix)| Cidr::observed(address, prefix)).collect(),
    }
}
