//! The declared objects as bytes: what a replica starts from instead of the log's beginning.

use std::sync::Arc;

use acp_base::{EpochId, Name, Uid, WallTime};
use acp_wire_model::Kind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    codec,
    hash::Hash,
    spec::Spec,
    state::{Identity, Record, State},
};

/// The layout written. A reader refuses a higher one; a lower one it must still read.
const FORMAT: u32 = 1;

/// The state at one index, cheap to take (the objects are shared) and encoded by whoever has time for it.
#[derive(Clone, Debug)]
pub struct Image {
    identity: Identity,
    index: u64,
    hash: Hash,
    time: WallTime,
    objects: Vec<Arc<Record>>,
    tombstones: Vec<Uid>,
}

/// Why bytes do not become a state.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They are no snapshot of any layout.
    #[error("the snapshot cannot be read")]
    Unreadable(#[from] rmp_serde::decode::Error),
    /// A newer version wrote it.
    #[error("the snapshot has layout {found}, this version reads up to {FORMAT}: install the newer version again")]
    Newer {
        /// The layout found.
        found: u32,
    },
    /// An object in it does not read as its kind's spec.
    #[error("{kind} {name:?} in the snapshot cannot be read: {reason}")]
    Object {
        /// The object's kind.
        kind: Kind,
        /// The object's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    index: u64,
    hash: [u8; 32],
    time: WallTime,
    epoch: EpochId,
    cluster: Uid,
    node: Uid,
    node_name: Name,
    objects: Vec<StoredObject>,
    tombstones: Vec<Uid>,
}

#[derive(Serialize, Deserialize)]
struct StoredObject {
    kind: Kind,
    name: Name,
    uid: Uid,
    version: u64,
    spec: Value,
}

impl Image {
    /// The index it stands at.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// The chain's hash there.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// When the entry at that index was ordered.
    pub const fn time(&self) -> WallTime {
        self.time
    }

    /// The image as bytes; the same state gives the same bytes.
    pub fn encode(self) -> Vec<u8> {
        let objects = self.objects.iter().map(|record| StoredObject {
            kind: record.kind,
            name: record.name.clone(),
            uid: record.uid,
            version: record.version,
            spec: Value::clone(&record.value),
        });
        let stored = Stored {
            format: FORMAT,
            index: self.index,
            hash: self.hash.bytes(),
            time: self.time,
            epoch: self.identity.epoch,
            cluster: self.identity.cluster,
            node: self.identity.node,
            node_name: self.identity.node_name,
            objects: objects.collect(),
            tombstones: self.tombstones,
        };
        rmp_serde::to_vec_named(&stored).expect("a snapshot holds nothing that MessagePack cannot express")
    }
}

impl State {
    /// The state as it is now; none before the first entry.
    pub fn image(&self) -> Option<Image> {
        let identity = self.identity().cloned()?;
        let objects = Kind::ALL.into_iter().flat_map(|kind| self.objects(kind)).cloned().collect();
        let tombstones = self.tombstones().collect();
        Some(Image { identity, index: self.index(), hash: self.hash(), time: self.time(), objects, tombstones })
    }

    /// The state that an encoded [`Image`] holds.
    ///
    /// # Errors
    /// See [`SnapshotError`]; a state comes whole or not at all.
    pub fn restore(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let head: Head = codec::read(bytes)?;
        if head.format > FORMAT {
            return Err(SnapshotError::Newer { found: head.format });
        }
        let stored: Stored = codec::read(bytes)?;
        let identity =
            Identity { cluster: stored.cluster, node: stored.node, node_name: stored.node_name, epoch: stored.epoch };
        let tombstones = stored.tombstones.into_iter().collect();
        let mut state = Self::at(identity, stored.index, Hash::from_bytes(stored.hash), stored.time, tombstones);
        for object in stored.objects {
            state.insert(object.into_record()?);
        }
        Ok(state)
    }
}

impl StoredObject {
    fn into_record(self) -> Result<Record, SnapshotError> {
        let Self { kind, name, uid, version, spec: value } = self;
        let spec = Spec::read(kind, &value).map_err(|refusal| SnapshotError::Object {
            kind,
            name: name.to_string(),
            reason: refusal.message,
        })?;
        Ok(Record::new(kind, name, uid, version, value, spec))
    }
}
