//! Identifiers that are never reused.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The identity of an object, a job or a node: a version 7 UUID, never reused, also not after its object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(Uuid);

impl Uid {
    /// The id with these 128 bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// The 128 bits of the id.
    pub const fn as_u128(&self) -> u128 {
        self.0.as_u128()
    }

    /// The 32 hexadecimal digits without dashes, for file and socket names.
    pub fn simple(&self) -> String {
        self.0.simple().to_string()
    }

    /// The last `digits` hexadecimal digits, the random part of the id, for names of bounded length such as links.
    pub fn tail(&self, digits: usize) -> String {
        let text = self.simple();
        text[text.len() - digits.min(text.len())..].to_owned()
    }
}

impl From<Uuid> for Uid {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for Uid {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// The generation of log and membership: a number that only grows and a random id that tells two histories apart which
/// reached the same number independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EpochId {
    /// Grows by one with each recovery, restore or horizon.
    pub number: u64,
    /// Drawn anew for each epoch.
    pub id: Uid,
}

impl fmt::Display for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.number, self.id.tail(8))
    }
}
