//! A network: a bridge on its node, with address, DHCP and NAT.

use acp_base::Name;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

/// What was asked of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NetworkSpec {
    /// The node it is on; its name is unique there. Absent in a request: the node that is asked; in entries of the time before
    /// clusters: the first node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// The bridge's address with prefix length, like `10.77.0.1/24`; guests get addresses from the same subnet.
    pub address: String,
    /// Whether guests get their addresses by DHCP.
    #[serde(default = "yes")]
    pub dhcp: bool,
    /// Whether guests reach the outside behind the node's address.
    #[serde(default = "yes")]
    pub nat: bool,
}

fn yes() -> bool {
    true
}

/// Whether a network works on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum NetworkState {
    /// Bridge, address, DHCP and NAT stand.
    Up,
    /// Some of it is missing; the reason says what.
    Degraded,
}

/// What the network service of a node says of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkMeta {
    /// Whether it works.
    pub state: NetworkState,
    /// Why not, in a sentence; empty when it works.
    #[serde(default)]
    pub reason: String,
    /// The bridge's link name.
    pub link: String,
    /// The taps attached.
    #[serde(default)]
    pub taps: Vec<TapMeta>,
}

/// A tap of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TapMeta {
    /// The tap's link name.
    pub link: String,
    /// The system it belongs to.
    pub system: Name,
    /// The position of the NIC in the system's spec.
    pub nic: u32,
}

/// Counters of one link since it was created.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LinkStats {
    /// The link's name.
    pub link: String,
    /// Bytes received by the host (for a tap: sent by the guest).
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets dropped on receipt.
    pub rx_dropped: u64,
    /// Bytes sent by the host.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets dropped on sending.
    pub tx_dropped: u64,
}

/// Measurements of a network or of a system's interfaces: every link of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkStats {
    /// Bridge first, then taps.
    pub links: Vec<LinkStats>,
}
