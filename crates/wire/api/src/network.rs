//! `acp.network`: the networks of a node.

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::Empty;

interface! {
    /// The networks of a node. They are read as objects of kind `network`.
    "acp.network";
    /// Declares a network and builds it; answers when it is up.
    Once CreateNetwork(CreateNetworkRequest) -> Empty, Write, [];
    /// Ends a network that no system uses and takes down what it consisted of.
    Once DeleteNetwork(NetworkRequest) -> Empty, Write, [];
    /// Makes the tap of a system's NIC, attached to its network's bridge; its file descriptor comes with the reply. The tap
    /// lives as long as somebody holds the descriptor.
    Once OpenTap(OpenTapRequest) -> OpenTapReply, Internal, ["hypervisor"];
}

/// See [`CreateNetwork`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateNetworkRequest {
    /// The network's name.
    pub name: Name,
    /// The bridge's address with prefix length, like `10.77.0.1/24`.
    pub address: String,
    /// Whether guests get their addresses by DHCP; absent: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp: Option<bool>,
    /// Whether guests reach the outside behind the node's address; absent: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<bool>,
}

/// Which network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct NetworkRequest {
    /// The network.
    pub name: Name,
}

/// See [`OpenTap`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct OpenTapRequest {
    /// The system.
    pub system: Uid,
    /// The position of the NIC in the system's spec.
    pub nic: u32,
}

/// See [`OpenTap`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct OpenTapReply {
    /// The tap's link name.
    pub link: String,
    /// The NIC's MAC address.
    pub mac: String,
    /// The network's MTU.
    pub mtu: u32,
}
