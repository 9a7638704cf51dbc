//! From the kernel's messages to links.

use std::net::{IpAddr, Ipv4Addr};

use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressMessage},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64},
};

use crate::link::{Kind, Link, Stats};

pub(crate) fn unknown_link(index: u32, name: String) -> Link {
    Link {
        index,
        name,
        kind: Kind::Unknown,
        alias: None,
        mac: None,
        master: None,
        up: false,
        mtu: 0,
        addresses: Vec::new(),
        stats: Stats::default(),
    }
}

pub(crate) fn link(message: LinkMessage) -> Link {
    let mut link = unknown_link(message.header.index, String::new());
    link.up = message.header.flags.contains(LinkFlags::Up);
    link.kind = Kind::Physical;
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::Address(bytes) => link.mac = bytes.try_into().ok(),
            LinkAttribute::Controller(index) => link.master = Some(index).filter(|index| *index != 0),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Stats64(counters) => link.stats = stats(&counters),
            LinkAttribute::LinkInfo(infos) => link.kind = kind(&infos),
            _ => {}
        }
    }
    link
}

fn kind(infos: &[LinkInfo]) -> Kind {
    let mut kinds = infos.iter().filter_map(|info| if let LinkInfo::Kind(kind) = info { Some(kind) } else { None });
    match kinds.next_back() {
        Some(InfoKind::Bridge) => Kind::Bridge,
        Some(InfoKind::Tun) => Kind::Tap,
        Some(other) => Kind::Other(other.to_string()),
        None => Kind::Physical,
    }
}

fn stats(counters: &Stats64) -> Stats {
    Stats {
        rx_bytes: counters.rx_bytes,
        rx_packets: counters.rx_packets,
        rx_dropped: counters.rx_dropped,
        tx_bytes: counters.tx_bytes,
        tx_packets: counters.tx_packets,
        tx_dropped: counters.tx_dropped,
    }
}

/// The link and the IPv4 address of an address message. On a point-to-point link `IFA_ADDRESS` is the peer's, so
/// `IFA_LOCAL` wins.
pub(crate) fn address(message: &AddressMessage) -> Option<(u32, Ipv4Addr, u8)> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => found = Some(*address),
            AddressAttribute::Address(IpAddr::V4(address)) => found = found.or(Some(*address)),
            _ => {}
        }
    }
    found.map(|address| (message.header.index, address, message.header.prefix_len))
}
