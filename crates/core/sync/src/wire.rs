//! The messages of slot replication: MessagePack maps with short names, one message a datagram.
//!
//! Sealing is not here: what is read has come from somebody with the group key, which is not to say that it makes sense.
//!
//! **Invariant**: decoding is total, allocates in proportion to the message, and yields only messages that keep the rules that
//! their fields' documentation states. A field that a newer version added is passed over; a message of a feature level that is
//! not known here is refused with that reason.

mod blob;
mod rules;

use std::{sync::Arc, time::Duration};

use acp_base::{EpochId, Uid};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{DEPTH_MAX, MESSAGE_BYTES_MAX},
    slot::reporter,
};
pub use crate::{
    ranges::Range,
    slot::{Hash, Origin, Rolling, SlotKey},
};
pub use blob::Blob;

/// The newest feature level whose messages are read here.
pub const FEATURE_LEVEL: u16 = 2;

/// The level of messages that every version reads: all but those of relays.
pub const BASE_LEVEL: u16 = 1;

/// What every message begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What its reader has to know.
    #[serde(rename = "l")]
    pub level: u16,
    /// The sender's epoch: messages do not cross epochs.
    #[serde(rename = "e", with = "blob::epoch")]
    pub epoch: EpochId,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Level and epoch.
    #[serde(rename = "h")]
    pub header: Header,
    /// What it says.
    #[serde(rename = "b")]
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Slots of an origin.
    #[serde(rename = "d")]
    Delta(Delta),
    /// Where the sender's own slots stand.
    #[serde(rename = "g")]
    Digest(Digest),
    /// What somebody lacks of an origin.
    #[serde(rename = "n")]
    Nack(Nack),
    /// What the sender holds of a page of origins; the answer are relayed deltas.
    #[serde(rename = "s")]
    Summary(Summary),
    /// Asks for parts of a large value.
    #[serde(rename = "f")]
    Fetch(Fetch),
    /// A part of a large value.
    #[serde(rename = "p")]
    Part(Part),
    /// Where the state of origins of other domains stands, said by a relay: each as its origin has said it, measurements left
    /// out. At most [`crate::limits::DIGESTS_MAX`].
    #[serde(rename = "r", deserialize_with = "blob::few")]
    Digests(Vec<Digest>),
}

/// All that stands under the sequences `first` to `last` of the origin, as its sender knew it when the origin's newest
/// sequence was `newest`. A sequence among them without an item is void: its slot has a newer one, or its tombstone is no
/// longer kept, which is so up to `horizon` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// Whose slots.
    #[serde(rename = "o")]
    pub origin: Origin,
    /// Said by a node other than the origin.
    #[serde(rename = "r")]
    pub relayed: bool,
    /// At least `last`.
    #[serde(rename = "n")]
    pub newest: u64,
    /// At most `newest`.
    #[serde(rename = "z")]
    pub horizon: u64,
    /// At least 1.
    #[serde(rename = "a")]
    pub first: u64,
    /// At least `first`.
    #[serde(rename = "b")]
    pub last: u64,
    /// In the order of their sequences.
    #[serde(rename = "i", deserialize_with = "blob::few")]
    pub items: Vec<Item>,
}

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The origin's number of this change.
    #[serde(rename = "s")]
    pub sequence: u64,
    /// How old it was when it was sent, in milliseconds.
    #[serde(rename = "a")]
    pub age_ms: u64,
    /// Which slot.
    #[serde(rename = "k")]
    pub key: SlotKey,
    /// What it says.
    #[serde(rename = "v")]
    pub said: Said,
}

/// What an item says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// This value.
    #[serde(rename = "v")]
    Value(Blob),
    /// The value with this hash and length, between [`crate::limits::INLINE_BYTES_MAX`] and [`crate::limits::VALUE_BYTES_MAX`].
    #[serde(rename = "l")]
    Large(Hash, u32),
    /// The tombstone of a slot that was withdrawn.
    #[serde(rename = "g")]
    Gone,
}

/// Where the sender's own slots stand: as long for one slot as for 100,000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// The sender.
    #[serde(rename = "o")]
    pub origin: Origin,
    /// Its newest sequence; 0 if it has published nothing.
    #[serde(rename = "n")]
    pub newest: u64,
    /// Up to where it may have dropped tombstones.
    #[serde(rename = "z")]
    pub horizon: u64,
    /// Count and hash of its slots.
    #[serde(rename = "w")]
    pub slots: Rolling,
    /// Its reporters, and how many milliseconds ago each stood by its states.
    #[serde(rename = "r", deserialize_with = "blob::few")]
    pub reporters: Vec<Stand>,
    /// Where its state alone stands, which is what other domains are told; absent: it is said by an older version, or by a relay.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

impl Digest {
    /// What other domains are told of it; none of an older version's.
    pub fn abroad(&self) -> Option<Self> {
        let Meta { newest, slots } = self.meta?;
        Some(Self { newest, horizon: self.horizon.min(newest), slots, meta: None, ..self.clone() })
    }

    /// So much time has passed since it was said.
    pub(crate) fn grow_old(&mut self, by: Duration) {
        for stand in &mut self.reporters {
            stand.age_ms = stand.age_ms.saturating_add(crate::publisher::millis(by));
        }
    }
}

/// Where the state of an origin stands, measurements left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The newest sequence that was given to state; what lies between those is void abroad.
    #[serde(rename = "n")]
    pub newest: u64,
    /// Count and hash of the slots of state.
    #[serde(rename = "w")]
    pub slots: Rolling,
}

/// When a reporter last said that its states are as it has said them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// Its short name.
    #[serde(rename = "r", serialize_with = "reporter::write", deserialize_with = "reporter::read")]
    pub reporter: Arc<str>,
    /// How long ago, in milliseconds.
    #[serde(rename = "a")]
    pub age_ms: u64,
}

/// What somebody lacks. Without ranges it tells the origin that a higher incarnation of it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nack {
    /// Of whom.
    #[serde(rename = "o")]
    pub origin: Origin,
    /// In order.
    #[serde(rename = "m", deserialize_with = "blob::few")]
    pub ranges: Vec<Range>,
}

/// What the sender holds of the origins whose ids lie between two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The sender has not been there for long: origins that can be heard will come to it by themselves.
    #[serde(rename = "j")]
    pub joining: bool,
    /// The lowest id of the page.
    #[serde(rename = "a")]
    pub first: Uid,
    /// The highest id of the page.
    #[serde(rename = "b")]
    pub last: Uid,
    /// The origins in the page that it knows, in order.
    #[serde(rename = "k", deserialize_with = "blob::few")]
    pub known: Vec<Known>,
}

/// How far a node has followed an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Which one.
    #[serde(rename = "o")]
    pub origin: Origin,
    /// Up to where it lacks nothing.
    #[serde(rename = "c")]
    pub contiguous: u64,
    /// The highest sequence that it has.
    #[serde(rename = "h")]
    pub highest: u64,
    /// How many sequences it has.
    #[serde(rename = "n")]
    pub count: u64,
    /// The hash of what it holds, [`Rolling::hash`]; none where it may lack values for want of room.
    #[serde(rename = "w")]
    pub hash: Option<u64>,
    /// It does not hear the origin.
    #[serde(rename = "s")]
    pub silent: bool,
}

/// Asks for parts of a large value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Whose slot.
    #[serde(rename = "o")]
    pub origin: Origin,
    /// Which slot.
    #[serde(rename = "k")]
    pub key: SlotKey,
    /// The value's hash.
    #[serde(rename = "h")]
    pub hash: Hash,
    /// A bit for each part that is wanted, the lowest for the first.
    #[serde(rename = "p")]
    pub parts: u64,
}

/// A part of a large value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The value's hash.
    #[serde(rename = "h")]
    pub hash: Hash,
    /// Which part, below 64.
    #[serde(rename = "p")]
    pub index: u8,
    /// [`crate::limits::PART_BYTES`] of it, or what is left at its end.
    #[serde(rename = "v")]
    pub bytes: Blob,
}

/// Why a message is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than anybody sends.
    #[error("a message of {0} bytes; at most {MESSAGE_BYTES_MAX} are read")]
    TooLong(usize),
    /// Of a newer version, which should not send it yet.
    #[error("a message of feature level {0}; {FEATURE_LEVEL} is the newest that is known here")]
    Level(u16),
    /// No message.
    #[error("no message: {0}")]
    Unreadable(String),
    /// A message that breaks a rule.
    #[error("a message that cannot be: {0}")]
    Impossible(&'static str),
}

/// The message's bytes.
pub fn encode(message: &Message) -> Vec<u8> {
    rmp_serde::to_vec_named(message).expect("a message holds nothing that MessagePack cannot express")
}

/// The message that these bytes are.
///
/// # Errors
/// Says why they are none.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    let read = read::<Message>(bytes);
    let header = match &read {
        Ok(message) => Some(message.header),
        Err(_) => read_header(bytes),
    };
    if let Some(header) = header.filter(|header| header.level > FEATURE_LEVEL) {
        return Err(DecodeError::Level(header.level));
    }
    let message = read.map_err(|error| DecodeError::Unreadable(error.to_string()))?;
    rules::check(&message.body).map_or(Ok(message), |rule| Err(DecodeError::Impossible(rule)))
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
    deserializer.set_max_depth(DEPTH_MAX);
    T::deserialize(&mut deserializer)
}

fn read_header(bytes: &[u8]) -> Option<Header> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "h")]
        header: Header,
    }
    read::<Head>(bytes).ok().map(|head| head.header)
}
