//! What is replicated: slots, whose they are, and what is said of them.

use std::{fmt, sync::Arc};

use acp_base::Uid;
use acp_wire_model::{Kind, object::Facet};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{limits::INLINE_BYTES_MAX, random::mix};

/// One life of a node as the source of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    /// The node.
    #[serde(rename = "n")]
    pub node: Uid,
    /// Grows with each start of what publishes there; a higher one replaces all that a lower one said.
    #[serde(rename = "i")]
    pub incarnation: u64,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.node, self.incarnation)
    }
}

/// Which slot of an origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SlotKey {
    /// The object's kind.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// The object's identity.
    #[serde(rename = "u")]
    pub uid: Uid,
    /// The reporter's short name, `network` for `network@<node>`; at most [`crate::limits::REPORTER_BYTES_MAX`] bytes.
    #[serde(rename = "r", serialize_with = "reporter::write", deserialize_with = "reporter::read")]
    pub reporter: Arc<str>,
    /// Which half.
    #[serde(rename = "f")]
    pub facet: Facet,
}

/// SHA-256 of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&acp_base::to_hex(&self.0[..8]))
    }
}

/// What a slot says; opaque here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Small: it travels with its item.
    Inline(Arc<[u8]>),
    /// Large: announced by hash and length.
    Large {
        /// Its hash.
        hash: Hash,
        /// Its length in bytes.
        length: u32,
        /// The bytes, where they are known.
        bytes: Option<Arc<[u8]>>,
    },
}

impl Value {
    /// The value with these bytes, of which there are at most [`crate::limits::VALUE_BYTES_MAX`].
    pub(crate) fn new(bytes: Arc<[u8]>) -> Self {
        if bytes.len() <= INLINE_BYTES_MAX {
            return Self::Inline(bytes);
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        Self::Large { hash: Hash::of(&bytes), length, bytes: Some(bytes) }
    }

    /// Its bytes, if they are known.
    pub(crate) const fn bytes(&self) -> Option<&Arc<[u8]>> {
        match self {
            Self::Inline(bytes) => Some(bytes),
            Self::Large { bytes, .. } => bytes.as_ref(),
        }
    }

    /// How many bytes it has, known or not.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Large { length, .. } => *length as usize,
        }
    }
}

/// Count and hash of an origin's slots, kept up to date by adding and removing: comparing two of them tells whether two nodes
/// hold the same, whatever the number of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolling {
    /// Slots with a value.
    #[serde(rename = "c")]
    pub count: u64,
    /// The sum of a hash of each key with its sequence.
    #[serde(rename = "h")]
    pub hash: u64,
}

impl Rolling {
    pub(crate) fn add(&mut self, key: &SlotKey, sequence: u64) {
        self.count += 1;
        self.hash = self.hash.wrapping_add(weight(key, sequence));
    }

    pub(crate) fn remove(&mut self, key: &SlotKey, sequence: u64) {
        self.count -= 1;
        self.hash = self.hash.wrapping_sub(weight(key, sequence));
    }
}

/// FNV-1a over the key, then mixed with the sequence: it shall find slips, not liars.
fn weight(key: &SlotKey, sequence: u64) -> u64 {
    let text = key.kind.name().bytes().chain(key.reporter.bytes()).chain([key.facet as u8]);
    let bytes = key.uid.as_u128().to_be_bytes().into_iter().chain(text);
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(hash ^ mix(sequence))
}

/// Names of reporters on the wire.
pub(crate) mod reporter {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::limits::REPORTER_BYTES_MAX;

    pub(crate) fn write<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name)
    }

    pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        let name = <&str>::deserialize(deserializer)?;
        if name.is_empty() || name.len() > REPORTER_BYTES_MAX {
            return Err(D::Error::custom(format_args!("a reporter's name has {} bytes", name.len())));
        }
        Ok(Arc::from(name))
    }
}
