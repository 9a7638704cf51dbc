//! An object as it is at one moment, cheap to take: everything in it is shared.

use std::{ops::Deref, sync::Arc};

use acp_base::{BootInstant, Uid};
use acp_wire_model::{Kind, Object, Slot, object::Facet};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value};

use crate::{database::is_here, json::Json, state::Record};

/// What one reporter says of one object, as the replica holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotRecord {
    /// Who says it.
    pub reporter: Arc<str>,
    /// The node that says it, if that is not this one.
    pub origin: Option<Uid>,
    /// Which half.
    pub facet: Facet,
    /// The reporter's restart counter.
    pub incarnation: u64,
    /// The publication within the incarnation.
    pub sequence: u64,
    /// When it was said.
    pub received: BootInstant,
    /// The value, an object.
    pub data: Json,
}

/// A slot as it stands at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotView {
    /// What is said.
    pub slot: Arc<SlotRecord>,
    /// When it was said, or its reporter last stood by it.
    pub stood: BootInstant,
}

impl Deref for SlotView {
    type Target = SlotRecord;

    fn deref(&self) -> &SlotRecord {
        &self.slot
    }
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
    /// What was declared; none for reported objects.
    pub record: Option<Arc<Record>>,
    /// By reporter and facet.
    pub slots: Vec<SlotView>,
}

/// Bytes that an object takes as JSON beside its spec and its slots' values, about.
const FRAME_BYTES: usize = 200;

impl View {
    /// Bytes of the object as JSON, about.
    pub fn bytes(&self) -> usize {
        let spec = self.record.as_ref().map_or(0, |record| record.json.text().len());
        let slots: usize = self.slots.iter().map(|slot| FRAME_BYTES + slot.data.text().len()).sum();
        FRAME_BYTES + spec + slots
    }

    /// The index of the entry that last changed the spec; 0 for reported objects.
    pub fn version(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.version)
    }

    /// The newest meta slot.
    pub fn meta(&self) -> Option<&SlotView> {
        let metas = self.slots.iter().filter(|slot| slot.facet == Facet::Meta);
        metas.max_by_key(|slot| slot.stood)
    }

    /// The object as it goes over the wire; ages are counted to `now`.
    pub fn to_object(&self, now: BootInstant) -> Object {
        let spec = self.record.as_ref().map(|record| Value::clone(&record.value));
        Object {
            kind: self.kind,
            name: self.name.to_string(),
            uid: self.uid,
            version: self.version(),
            spec: spec.unwrap_or_else(|| Value::Object(Map::new())),
            slots: self.slots.iter().map(|slot| slot.to_slot(now)).collect(),
        }
    }

    /// What serialises exactly as [`View::to_object`] does, without building values first.
    pub const fn rendered(&self, now: BootInstant) -> Rendered<'_> {
        Rendered { view: self, now }
    }

    pub(crate) fn drop_stats(&mut self) {
        self.slots.retain(|slot| slot.facet != Facet::Stats);
    }

    /// The object as it was asked for: as this node's reporters alone describe it or as all do, absent: the former if it is of a
    /// reported kind. None if it exists by the word of others.
    pub fn within(self, here: Option<bool>) -> Option<Self> {
        if is_here(here, self.kind) { self.here() } else { Some(self) }
    }

    /// The object as this node's own reporters alone describe it; none if it exists by the word of others.
    pub fn here(mut self) -> Option<Self> {
        self.slots.retain(|slot| slot.origin.is_none());
        (self.record.is_some() || !self.slots.is_empty()).then_some(self)
    }
}

impl SlotView {
    fn age_ms(&self, now: BootInstant) -> u64 {
        u64::try_from(now.since(self.stood).as_millis()).unwrap_or(u64::MAX)
    }

    fn to_slot(&self, now: BootInstant) -> Slot {
        Slot {
            reporter: self.reporter.to_string(),
            facet: self.facet,
            incarnation: self.incarnation,
            sequence: self.sequence,
            age_ms: self.age_ms(now),
            data: self.data.to_value(),
        }
    }
}

/// A view as an [`Object`] in JSON. Specs and slots are JSON already and only copied: a list of ten thousand objects costs a
/// few milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rendered<'a> {
    view: &'a View,
    now: BootInstant,
}

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { view, now } = *self;
        let mut object = serializer.serialize_struct("Object", 6)?;
        object.serialize_field("kind", &view.kind)?;
        object.serialize_field("name", &*view.name)?;
        object.serialize_field("uid", &view.uid)?;
        object.serialize_field("version", &view.version())?;
        match &view.record {
            Some(record) => object.serialize_field("spec", &record.json)?,
            None => object.serialize_field("spec", &Map::new())?,
        }
        let slots: Vec<_> = view.slots.iter().map(|slot| RenderedSlot { slot, now }).collect();
        object.serialize_field("slots", &slots)?;
        object.end()
    }
}

struct RenderedSlot<'a> {
    slot: &'a SlotView,
    now: BootInstant,
}

impl Serialize for RenderedSlot<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let slot = self.slot;
        let mut fields = serializer.serialize_struct("Slot", 6)?;
        fields.serialize_field("reporter", &*slot.reporter)?;
        fields.serialize_field("facet", &slot.facet)?;
        fields.serialize_field("incarnation", &slot.incarnation)?;
        fields.serialize_field("sequence", &slot.sequence)?;
        fields.serialize_field("age_ms", &slot.age_ms(self.now))?;
        fields.serialize_field("data", &slot.data)?;
        fields.end()
    }
}
