//! What one command of the voters' log holds: entries that follow each other.

use std::fmt;

use acp_core_cdb::State;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Entries of the log, encoded. Void unless `first` is the next index where it is applied: an entry can neither be applied
/// twice nor out of order, whatever became of the command before.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// The index of the first one.
    pub(crate) first: u64,
    /// The entries.
    pub(crate) entries: Vec<Blob>,
}

impl Batch {
    pub(crate) fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec(self).expect("a number and bytes can be written")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes)
    }

    /// Applies a command to a state of one's own, if it is the next one.
    pub(crate) fn follow(state: &mut State, command: &[u8]) {
        match Self::decode(command) {
            Ok(batch) if batch.first == state.index() + 1 => {
                for Blob(bytes) in batch.entries {
                    state.apply(&bytes);
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Bytes that are written as such, not as a list of numbers.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl de::Visitor<'_> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_and_take_no_more_than_themselves() {
        let entries = vec![Blob(vec![200; 1_000]), Blob(Vec::new())];
        let bytes = Batch { first: 7, entries: entries.clone() }.encode();
        assert!(bytes.len() < 1_020, "{} bytes", bytes.len());
        let read = Batch::decode(&bytes).expect("it was written");
        assert_eq!((read.first, read.entries), (7, entries));
        assert!(Batch::decode(&bytes[1..]).is_err());
    }
}
