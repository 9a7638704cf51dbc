//! Bytes and lists as messages hold them: read without believing a length before the bytes are there.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::slot::Hash;

/// Bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob(pub Arc<[u8]>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(Arc::from(bytes)))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let hash = <[u8; 32]>::try_from(bytes).ok().map(Self);
        hash.ok_or_else(|| D::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}

/// Epochs as pairs: the names of their fields would be in every message.
pub(super) mod epoch {
    use acp_base::{EpochId, Uid};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::wire) fn serialize<S: Serializer>(epoch: &EpochId, serializer: S) -> Result<S::Ok, S::Error> {
        (epoch.number, epoch.id).serialize(serializer)
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EpochId, D::Error> {
        <(u64, Uid)>::deserialize(deserializer).map(|(number, id)| EpochId { number, id })
    }
}

/// Reads a list one by one. The usual reader makes room first for as many as the list claims to have.
pub(super) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(Few(PhantomData))
}

struct Few<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut read = Vec::new();
        while let Some(one) = list.next_element()? {
            read.push(one);
        }
        Ok(read)
    }
}
