//! How the nodes of a domain hear each other.

use acp_base::{Name, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::hub::RingStateKind;

/// See [`GetDomain`](super::GetDomain): the domain as one node hears it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Domain {
    /// What it is called.
    pub name: String,
    /// The node that answers.
    pub node: Name,
    /// Where its datagrams come from; absent: it has no sockets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Why it has no sockets, none for multicast, or no key; empty when all is well.
    #[serde(default)]
    pub trouble: String,
    /// The number of the group key that it seals with; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// The largest packets, in bytes with the headers of UDP and IP, that its datagrams need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u32>,
    /// Its ring; one ring alone is 1.
    pub ring: u64,
    /// Slots that its own services say.
    pub own_slots: u64,
    /// Slots of other nodes that it holds, those among them that were taken back lately.
    pub heard_slots: u64,
    /// Bytes of their values.
    pub heard_bytes: u64,
    /// How well it can tell who is dead: 0 is well, 8 is worst.
    pub health: u8,
    /// Datagrams that it refused since it has keys, by reason.
    pub refused: Vec<Refused>,
    /// The nodes of the domain that hear others for it, as this node counts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<Name>,
    /// Whom this node hears of other domains, if it is a relay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<DomainLink>,
    /// The other members, by name.
    pub peers: Vec<DomainPeer>,
}

/// The stream by which a relay hears another domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DomainLink {
    /// Which domain.
    pub domain: String,
    /// The node there that tells it; absent: none does, they are tried in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

/// Datagrams that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// How a node is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum Way {
    /// It hears what goes to the group.
    Multicast,
    /// It is sent copies.
    Unicast,
    /// It is of another domain, and heard by a relay.
    Relay,
}

/// Another member as a node hears it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DomainPeer {
    /// Its name.
    pub node: Name,
    /// Its domain, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The relay of this domain by which it is heard; absent: it is of this domain, or no relay has told of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Name>,
    /// Where it is sent to.
    pub address: String,
    /// How it is sent to.
    pub way: Way,
    /// For how long, in milliseconds.
    pub way_for_ms: u64,
    /// Whether it says that it hears this node's multicast.
    pub hears: bool,
    /// Whether its multicast is heard here.
    pub is_heard: bool,
    /// How many of a thousand of its multicast probes are missing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast_loss_permille: Option<u32>,
    /// How many of a thousand echoes by unicast are missing, there or back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unicast_loss_permille: Option<u32>,
    /// The round trip by unicast in microseconds, smoothed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// How far its wall clock is ahead, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
    /// The largest packet of those that are tried, in bytes with the headers of UDP and IP, that reaches it in one piece.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_bytes: Option<u32>,
    /// For how long nothing of its slots was heard from itself, or from a relay that hears it, in milliseconds; absent: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_for_ms: Option<u64>,
    /// Whether all that it is known to have said is here.
    pub is_whole: bool,
    /// Slots of it that are held here.
    pub slots: u64,
    /// What the ring holds of it; absent: there was no contact, or it is in another ring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<RingStateKind>,
}

/// See [`Relay`](super::Relay): whoever asks is a relay of another domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RelayRequest {
    /// The domain to be told of: that of the node that is asked.
    pub domain: String,
    /// How far its origins are followed already; at most 1,024.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<RelayKnown>,
}

/// How far an origin is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct RelayKnown {
    /// The node.
    pub node: Uid,
    /// Which life of it.
    pub incarnation: u64,
    /// Up to which sequence nothing is missing.
    pub contiguous: u64,
}

/// Messages of slot replication. At least one reply of a stream comes every 2 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
pub struct RelayReply {
    /// In order, each in base64; at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<String>,
}

/// See [`AskRelay`](super::AskRelay).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct AskRelayRequest {
    /// The question, a message of slot replication in base64.
    pub message: String,
}
