//! An object as it is at one moment, cheap to take: everything in it is shared.

use std::sync::Arc;

use acp_base::{BootInstant, Uid};
use acp_wire_model::{Kind, Object, Slot, object::Facet};
use serde_json::{Map, Value};

/// What one reporter says of one object, as the replica holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotRecord {
    /// Who says it.
    pub reporter: Arc<str>,
    /// Which half.
    pub facet: Facet,
    /// The reporter's restart counter.
    pub incarnation: u64,
    /// The publication within the incarnation.
    pub sequence: u64,
    /// When this replica received it.
    pub received: BootInstant,
    /// The value.
    pub data: Arc<Value>,
    /// Bytes of the value as JSON.
    pub bytes: usize,
}

/// An object with its slots.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub name: Arc<str>,
    /// The identity.
    pub uid: Uid,
    /// The index of the entry that last changed the spec; 0 for reported objects.
    pub version: u64,
    /// The spec; none for reported objects.
    pub spec: Option<Arc<Value>>,
    /// By reporter and facet.
    pub slots: Vec<Arc<SlotRecord>>,
}

/// Bytes that an object takes beside its slots' values, about: a spec and the keys around it.
const OBJECT_BYTES: usize = 400;

impl View {
    /// Bytes of the object as JSON, about.
    pub fn bytes(&self) -> usize {
        OBJECT_BYTES + self.slots.iter().map(|slot| slot.bytes).sum::<usize>()
    }

    /// The newest meta slot.
    pub fn meta(&self) -> Option<&SlotRecord> {
        let metas = self.slots.iter().filter(|slot| slot.facet == Facet::Meta);
        metas.max_by_key(|slot| slot.received).map(Arc::as_ref)
    }

    /// The object as it goes over the wire; ages are counted to `now`.
    pub fn to_object(&self, now: BootInstant) -> Object {
        Object {
            kind: self.kind,
            name: self.name.to_string(),
            uid: self.uid,
            version: self.version,
            spec: self.spec.as_deref().cloned().unwrap_or_else(|| Value::Object(Map::new())),
            slots: self.slots.iter().map(|slot| slot.to_slot(now)).collect(),
        }
    }

    pub(crate) fn drop_stats(&mut self) {
        self.slots.retain(|slot| slot.facet != Facet::Stats);
    }
}

impl SlotRecord {
    fn to_slot(&self, now: BootInstant) -> Slot {
        let age = now.since(self.received).as_millis();
        Slot {
            reporter: self.reporter.to_string(),
            facet: self.facet,
            incarnation: self.incarnation,
            sequence: self.sequence,
            age_ms: u64::try_from(age).unwrap_or(u64::MAX),
            data: Value::clone(&self.data),
        }
    }
}
