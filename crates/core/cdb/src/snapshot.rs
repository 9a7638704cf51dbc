//! The state as bytes: what a replica starts from instead of the log's beginning.

use std::sync::Arc;

use acp_base::{EpochId, Name, Uid, WallTime};
use acp_wire_model::{
    Kind,
    entry::{FEATURE_LEVEL, NodeStanding},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    codec,
    hash::Hash,
    spec::{Spec, is_local},
    state::{Identity, LeaseRecord, Record, Standing, State},
};

/// The layout written. A reader refuses a higher one; a lower one it must still read.
const FORMAT: u32 = 2;

/// The state at one index, cheap to take (the objects are shared) and encoded by whoever has time for it.
#[derive(Clone, Debug)]
pub struct Image {
    standing: Standing,
    objects: Vec<Arc<Record>>,
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
    /// It may hold what this version does not know.
    #[error(
        "the snapshot is of feature level {found}, this version knows {FEATURE_LEVEL}: install the newer version again"
    )]
    Level {
        /// The level found.
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
    // What follows is there from layout 2 on.
    #[serde(default)]
    departed: Vec<Uid>,
    #[serde(default)]
    level: u32,
    #[serde(default)]
    last_term: u64,
    #[serde(default)]
    leases: Vec<(Uid, LeaseRecord)>,
    #[serde(default)]
    members: acp_core_membership::State,
    // From feature level 2 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    verdicts: Vec<(Uid, NodeStanding)>,
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
        self.standing.index
    }

    /// The chain's hash there.
    pub const fn hash(&self) -> Hash {
        self.standing.hash
    }

    /// When the entry at that index was ordered.
    pub const fn time(&self) -> WallTime {
        self.standing.time
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
        let Standing { identity, index, hash, time, level, members, leases, last_term, verdicts, tombstones, departed } =
            self.standing;
        let stored = Stored {
            format: FORMAT,
            index,
            hash: hash.bytes(),
            time,
            epoch: identity.epoch,
            cluster: identity.cluster,
            node: identity.node,
            node_name: identity.node_name,
            objects: objects.collect(),
            tombstones: tombstones.into_iter().collect(),
            departed: departed.into_iter().collect(),
            level,
            last_term,
            leases: leases.into_iter().collect(),
            members,
            verdicts: verdicts.into_iter().collect(),
        };
        rmp_serde::to_vec_named(&stored).expect("a snapshot holds nothing that MessagePack cannot express")
    }
}

impl State {
    /// The state as it is now; none before the first entry.
    pub fn image(&self) -> Option<Image> {
        let standing = self.beside_objects()?;
        let objects = Kind::ALL.into_iter().flat_map(|kind| self.objects(kind)).cloned().collect();
        Some(Image { standing, objects })
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
        if stored.level > FEATURE_LEVEL {
            return Err(SnapshotError::Level { found: stored.level });
        }
        let first = stored.node_name.clone();
        let mut state = Self::standing(Standing {
            identity: Identity {
                cluster: stored.cluster,
                node: stored.node,
                node_name: stored.node_name,
                epoch: stored.epoch,
            },
            index: stored.index,
            hash: Hash::from_bytes(stored.hash),
            time: stored.time,
            level: stored.level,
            members: stored.members,
            leases: stored.leases.into_iter().collect(),
            last_term: stored.last_term,
            verdicts: stored.verdicts.into_iter().collect(),
            tombstones: stored.tombstones.into_iter().collect(),
            departed: stored.departed.into_iter().collect(),
        });
        for object in stored.objects {
            state.insert(object.into_record(&first)?);
        }
        Ok(state)
    }
}

impl StoredObject {
    /// Before layout 2 networks and images did not name their node: they are on the first.
    fn into_record(self, first: &Name) -> Result<Record, SnapshotError> {
        let Self { kind, name, uid, version, spec: value } = self;
        let spec = Spec::read(kind, &value).map_err(|refusal| SnapshotError::Object {
            kind,
            name: name.to_string(),
            reason: refusal.message,
        })?;
        let record = Record::new(kind, name, uid, version, value, spec);
        let is_unplaced = is_local(kind) && record.spec.node().is_none();
        Ok(if is_unplaced { record.on_node(first.clone(), version) } else { record })
    }
}
