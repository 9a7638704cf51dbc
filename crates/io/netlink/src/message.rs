//! Route messages that are never refused: what cannot be read is kept as unknown.

use std::convert::Infallible;

use rtnetlink::packet_core::{NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;

/// Length of `struct ifinfomsg`, which precedes the attributes of a link message; its index lies at byte 4.
const LINK_HEADER_LEN: usize = 16;
/// `RTM_NEWLINK`, the type of the messages that describe a link.
const NEW_LINK: u16 = 16;
/// `IFLA_IFNAME`, the attribute with a link's name.
const LINK_NAME: u16 = 3;

/// A message of the route family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteMessage {
    /// Readable.
    Known(RouteNetlinkMessage),
    /// The description of a link that cannot be read.
    UnknownLink {
        /// The link's index.
        index: u32,
        /// Its name, empty if that cannot be read either.
        name: String,
    },
    /// Anything else that cannot be read.
    Unknown,
}

impl NetlinkDeserializable for RouteMessage {
    type Error = Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Infallible> {
        Ok(match RouteNetlinkMessage::deserialize(header, payload) {
            Ok(message) => Self::Known(message),
            Err(error) => {
                tracing::debug!(%error, message_type = header.message_type, "a netlink message cannot be read");
                if header.message_type == NEW_LINK { unknown_link(payload) } else { Self::Unknown }
            }
        })
    }
}

fn unknown_link(payload: &[u8]) -> RouteMessage {
    let Some(index) = payload.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes) else {
        return RouteMessage::Unknown;
    };
    let attributes = payload.get(LINK_HEADER_LEN..).unwrap_or_default();
    let name = NlasIterator::new(attributes).map_while(Result::ok).find(|attribute| attribute.kind() == LINK_NAME);
    let name = name.map(|attribute| String::from_utf8_lossy(attribute.value()).trim_end_matches('\0').to_owned());
    RouteMessage::UnknownLink { index, name: name.unwrap_or_default() }
}

impl NetlinkSerializable for RouteMessage {
    fn message_type(&self) -> u16 {
        match self {
            Self::Known(message) => message.message_type(),
            Self::UnknownLink { .. } | Self::Unknown => 0,
        }
    }

    fn buffer_len(&self) -> usize {
        match self {
            Self::Known(message) => message.buffer_len(),
            Self::UnknownLink { .. } | Self::Unknown => 0,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match self {
            Self::Known(message) => message.serialize(buffer),
            Self::UnknownLink { .. } | Self::Unknown => {}
        }
    }
}

impl From<RouteMessage> for NetlinkPayload<RouteMessage> {
    fn from(message: RouteMessage) -> Self {
        Self::InnerMessage(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(message_type: u16) -> NetlinkHeader {
        let mut header = NetlinkHeader::default();
        header.message_type = message_type;
        header
    }

    /// A link message of index 7 and name `eth0` with an MTU of one byte, where four are due.
    fn unreadable_link() -> Vec<u8> {
        let mut bytes = vec![0; LINK_HEADER_LEN];
        bytes[4..8].copy_from_slice(&7u32.to_ne_bytes());
        bytes.extend([5u16.to_ne_bytes(), 4u16.to_ne_bytes()].concat());
        bytes.extend([9, 0, 0, 0]);
        bytes.extend([9u16.to_ne_bytes(), LINK_NAME.to_ne_bytes()].concat());
        bytes.extend(b"eth0\0\0\0\0");
        bytes
    }

    fn read(message_type: u16, payload: &[u8]) -> RouteMessage {
        match RouteMessage::deserialize(&header(message_type), payload) {
            Ok(message) => message,
            Err(never) => match never {},
        }
    }

    #[test]
    fn an_unreadable_link_keeps_index_and_name() {
        let expected = RouteMessage::UnknownLink { index: 7, name: "eth0".to_owned() };
        assert_eq!(read(NEW_LINK, &unreadable_link()), expected);
    }

    #[test]
    fn a_cut_off_message_is_unknown() {
        let whole = unreadable_link();
        assert_eq!(read(NEW_LINK, &whole[..7]), RouteMessage::Unknown);
        assert_eq!(read(9999, &whole), RouteMessage::Unknown);
        for length in 8..whole.len() {
            let message = read(NEW_LINK, &whole[..length]);
            assert!(!matches!(message, RouteMessage::Unknown), "{length}: {message:?}");
        }
    }

    /// The first two bytes of an input are the message's type, the rest is its payload.
    #[test]
    fn any_message_is_taken_and_says_which_link_it_is_about() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "route", |input| {
            let Some((kind, payload)) = input.split_first_chunk::<2>() else { return };
            let kind = u16::from_ne_bytes(*kind);
            let (read, peak) = acp_dev_fuzz::peak_bytes(|| RouteMessage::deserialize(&header(kind), payload));
            assert!(peak <= (16 << 10) + 100 * payload.len(), "{peak} bytes for {}", payload.len());
            match read {
                Ok(RouteMessage::UnknownLink { index, .. }) => {
                    assert_eq!((kind, index.to_ne_bytes().as_slice()), (NEW_LINK, &payload[4..8]));
                }
                Ok(RouteMessage::Unknown) => assert!(kind != NEW_LINK || payload.len() < 8),
                Ok(RouteMessage::Known(_)) => {}
            }
        });
    }
}
