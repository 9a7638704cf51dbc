//! What the links, the packet filter and the DHCP server of a node should look like, and which steps lead there.
//!
//! `specs -> [`Desired`]`, then `([`Desired`], [`Observed`]) -> [`Plan`]`: ordered steps, each of which may be repeated
//! without harm, and the problems that no step can solve. [`nft_document`] and [`dhcp`] say the same for nftables and
//! dnsmasq.
//!
//! Deliberately not here: netlink, processes, files. A driver (`services/network`) observes, asks for the plan, performs
//! it and observes again. Taps are not made here either: whoever starts a system asks for one, and it vanishes with its
//! last descriptor; the plan only keeps a tap that exists attached and up.
//!
//! **Invariants**: a step never names a link that is not ours ([`ObservedLink::is_ours`]); performing the steps of a plan
//! leads to a state whose plan is empty.

mod cidr;
mod desired;
pub mod dhcp;
mod diff;
mod link;
mod nft;
mod observed;

pub use cidr::{Cidr, CidrError};
pub use desired::{Desired, DesiredNetwork, DesiredTap, NetworkInput, RejectedNetwork, SystemInput};
pub use diff::{Plan, Problem, Step, plan};
pub use link::{Alias, LINK_NAME_LEN_MAX, Mac, NIC_COUNT_MAX, bridge_link, bridge_mac, tap_link};
pub use nft::{TABLE_FAMILY, TABLE_NAME, TableContent, nft_document};
pub use observed::{LinkKind, Observed, ObservedLink};

/// The sysctl that lets the node forward IPv4, as a path below `/proc/sys`.
pub const FORWARDING_SYSCTL: &str = "net/ipv4/ip_forward";

/// The sysctl that keeps IPv6 off a link, as a path below `/proc/sys`. Networks are IPv4; with IPv6 on, the node would
/// believe router advertisements that a guest sends.
pub fn no_ipv6_sysctl(link: &str) -> String {
    format!("net/ipv6/conf/{link}/disable_ipv6")
}
