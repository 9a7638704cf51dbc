//! A link as the kernel describes it.

use std::net::Ipv4Addr;

/// What sort of link it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A bridge.
    Bridge,
    /// A tap or tun.
    Tap,
    /// Something else, by the kernel's word for it (`IFLA_INFO_KIND`).
    Other(String),
    /// A link without such a word: a network card or the loopback link.
    Physical,
    /// The kernel's description could not be read; only index and, mostly, name are known.
    Unknown,
}

/// Counters of a link since it was created, as the host sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets dropped on receipt.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets dropped on sending.
    pub tx_dropped: u64,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique in the namespace while it exists.
    pub index: u32,
    /// Its name; empty if the description could not be read that far.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its alias.
    pub alias: Option<String>,
    /// Its MAC address, if it has one of six bytes.
    pub mac: Option<[u8; 6]>,
    /// The link it is a port of, by index.
    pub master: Option<u32>,
    /// Whether it is set up (`IFF_UP`), not whether it has a carrier.
    pub up: bool,
    /// The largest packet it carries, in bytes; 0 if unknown.
    pub mtu: u32,
    /// Its IPv4 addresses with prefix length.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Its counters.
    pub stats: Stats,
}
