//! What openraft is told about our types. None of them leaves the crate.

use std::{
    any::Any,
    fmt,
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use acp_base::Uid;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// A node of the group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Voter(pub(crate) Uid);

/// Openraft starts some of its values from a default; no node has the nil id.
impl Default for Voter {
    fn default() -> Self {
        Self(Uid::from_u128(0))
    }
}

impl fmt::Display for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Voter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a proposal was taken into this node's log: from then on nobody can say that it has not happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Option<Arc<AtomicBool>>);

impl Taken {
    pub(crate) fn watched() -> Self {
        Self(Some(Arc::default()))
    }

    pub(crate) fn set(&self) {
        if let Some(taken) = &self.0 {
            taken.store(true, Ordering::Release);
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.as_ref().is_some_and(|taken| taken.load(Ordering::Acquire))
    }
}

/// A command on its way through the log.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) bytes: Bytes,
    /// Only at the node that proposed it.
    pub(crate) taken: Taken,
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        blob::serialize(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Vec<u8> = blob::deserialize(deserializer)?;
        Ok(Self { bytes: bytes.into(), taken: Taken::default() })
    }
}

/// What the machine answered. It stays in the process that applied the command.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Reply {
    #[serde(skip)]
    pub(crate) answer: Option<Box<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").field(&self.answer.is_some()).finish()
    }
}

openraft::declare_raft_types!(
    pub(crate) Types:
        D = Command,
        R = Reply,
        NodeId = Voter,
        Node = openraft::EmptyNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(crate) type Core = openraft::Raft<Types>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<Voter>;
pub(crate) type Membership = openraft::StoredMembership<Voter, openraft::EmptyNode>;
pub(crate) type Metrics = openraft::RaftMetrics<Voter, openraft::EmptyNode>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<Voter, openraft::EmptyNode>;
pub(crate) type StorageError = openraft::StorageError<Voter>;
pub(crate) type StorageIo = openraft::StorageIOError<Voter>;
pub(crate) type Vote = openraft::Vote<Voter>;

/// Bytes as one value; serde's own way is a list of numbers.
pub(crate) mod blob {
    use super::{Deserializer, Serializer, Visitor, fmt};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Blob)
    }

    struct Blob;

    impl Visitor<'_> for Blob {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
}
