//! What nodes say to each other in the self-test. Integers are big-endian; bytes behind what is known are from a newer version
//! and are passed over.

use acp_base::WallTime;

use super::{limits::MEMBERS_MAX, roster::Digest};
use crate::header::first;

const PROBE: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;

/// The longest bitmap.
const BITMAP_BYTES_MAX: usize = MEMBERS_MAX / 8;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// By multicast: whom the sender hears by multicast.
    Probe(Probe),
    /// By unicast, to be answered.
    Ask { token: u32, is_heard: bool },
    /// The answer; `at` is when the peer was asked by its own clock.
    Answer { token: u32, is_heard: bool, at: WallTime },
}

/// A bit for each member of the list with this digest, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) sequence: u64,
    pub(crate) members: Digest,
    pub(crate) heard: Vec<u8>,
}

impl Probe {
    /// Whether it says that the member at this place is heard.
    pub(crate) fn hears(&self, place: usize) -> bool {
        self.heard.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) != 0)
    }
}

impl Message {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Probe(probe) => {
                let length = u16::try_from(probe.heard.len()).unwrap_or(u16::MAX);
                let head: [&[u8]; 4] = [&[PROBE], &probe.sequence.to_be_bytes(), &probe.members, &length.to_be_bytes()];
                [&head.concat(), probe.heard.as_slice()].concat()
            }
            Self::Ask { token, is_heard } => {
                let parts: [&[u8]; 3] = [&[ASK], &token.to_be_bytes(), &[u8::from(*is_heard)]];
                parts.concat()
            }
            Self::Answer { token, is_heard, at } => {
                let parts: [&[u8]; 4] = [&[ANSWER], &token.to_be_bytes(), &[u8::from(*is_heard)], &at.0.to_be_bytes()];
                parts.concat()
            }
        }
    }

    /// The message; none if it is no such thing, or of a kind that a newer version has.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        match *kind {
            PROBE => read_probe(rest).map(Self::Probe),
            ASK => {
                let rest = rest.get(..5)?;
                Some(Self::Ask { token: u32::from_be_bytes(first(rest)), is_heard: rest[4] == 1 })
            }
            ANSWER => {
                let rest = rest.get(..13)?;
                let at = WallTime(u64::from_be_bytes(first(&rest[5..])));
                Some(Self::Answer { token: u32::from_be_bytes(first(rest)), is_heard: rest[4] == 1, at })
            }
            _ => None,
        }
    }
}

fn read_probe(bytes: &[u8]) -> Option<Probe> {
    let head = bytes.get(..18)?;
    let length = usize::from(u16::from_be_bytes(first(&head[16..])));
    if length > BITMAP_BYTES_MAX {
        return None;
    }
    Some(Probe {
        sequence: u64::from_be_bytes(first(head)),
        members: first(&head[8..]),
        heard: bytes.get(18..18 + length)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Message> {
        let probe = |heard: &[u8]| {
            Message::Probe(Probe { sequence: 0x0102_0304_0506_0708, members: [9; 8], heard: heard.to_vec() })
        };
        vec![
            probe(&[]),
            probe(&[0b101, 0x80]),
            probe(&[0xff; BITMAP_BYTES_MAX]),
            Message::Ask { token: 7, is_heard: true },
            Message::Answer { token: u32::MAX, is_heard: false, at: WallTime(1_795_296_892_345) },
        ]
    }

    #[test]
    fn messages_survive_their_bytes_with_or_without_more_behind_them_and_are_never_read_from_less() {
        for message in samples() {
            let mut bytes = message.to_bytes();
            for shorter in 0..bytes.len() {
                assert_eq!(Message::read(&bytes[..shorter]), None, "{shorter} bytes of {message:?}");
            }
            bytes.extend([1, 2, 3]);
            assert_eq!(Message::read(&bytes), Some(message));
        }
    }

    #[test]
    fn a_bit_is_a_member_and_what_is_not_there_is_not_heard() {
        let Message::Probe(probe) = &samples()[1] else { panic!("it is a probe") };
        let heard: Vec<usize> = (0..100).filter(|place| probe.hears(*place)).collect();
        assert_eq!(heard, [0, 2, 15]);
    }

    #[test]
    fn the_largest_probe_fits_into_a_datagram() {
        assert!(samples()[2].to_bytes().len() <= crate::limits::PAYLOAD_BYTES_MAX);
    }

    #[test]
    fn nothing_makes_the_decoder_panic_or_take_memory() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "selftest", |bytes| {
            if let Some(message) = Message::read(bytes) {
                let again = message.to_bytes();
                assert!(again.len() <= bytes.len());
                assert_eq!(Message::read(&again), Some(message));
            }
        });
    }
}
