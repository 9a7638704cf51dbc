//! What reporters of other nodes say, as this node heard it.
//!
//! Order and lives of the nodes are the replication's matter: what is given here is the newest. It is checked as a publication is,
//! because any holder of the group key can have written it, and it never takes the place of what this node's reporters say.

use std::sync::Arc;

use acp_base::{BootInstant, Uid};
use acp_wire_model::object::Facet;
use serde_json::Value;

use super::{
    Reporter, SlotChange, SlotId, Slots, Stood, Totals,
    check::{check_reported_name, is_deeper},
};
use crate::{
    json::Json,
    limits::{REPORTED_MAX, REPORTERS_MAX, SLOT_BYTES_MAX, SLOT_DEPTH_MAX, SLOTS_BYTES_MAX, SLOTS_MAX},
    refusal::{Refusal, with_article},
    state::State,
    view::SlotRecord,
};

/// A slot of a reporter on another node.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The node.
    pub origin: Uid,
    /// Which slot; the reporter with the node's name, as `network@n2`.
    pub slot: SlotId,
    /// What it says; none: nothing any more.
    pub value: Option<HeardValue>,
}

/// What such a slot says.
#[derive(Clone, Debug, PartialEq)]
pub struct HeardValue {
    /// The reporter's restart counter.
    pub incarnation: u64,
    /// The publication within the incarnation.
    pub sequence: u64,
    /// The name of a reported object.
    pub name: Option<String>,
    /// When it was said, by this node's clock.
    pub said: BootInstant,
    /// The value.
    pub data: Value,
}

/// What became of it.
pub(crate) enum Hearing {
    /// It was taken.
    Taken(Option<SlotChange>),
    /// No object of this identity is declared here, yet or any more.
    Unknown,
}

impl Slots {
    /// Takes what was heard; refused, nothing of it.
    pub(crate) fn hear(&mut self, state: &State, heard: Heard) -> Result<Hearing, Refusal> {
        let Heard { origin, slot: SlotId { kind, uid, reporter, facet }, value } = heard;
        let known = self.reporters.get_key_value(&reporter).map(|(name, known)| (Arc::clone(name), known.origin));
        if known.as_ref().is_some_and(|(_, by)| *by != Some(origin)) {
            return Err(Refusal::precondition(format!("{reporter} is a reporter of another node")));
        }
        let reporter = known.map_or(reporter, |(name, _)| name);
        let Some(value) = value else { return Ok(Hearing::Taken(self.take_back(&reporter, (uid, facet)))) };
        if kind.is_declared() && state.get(uid).is_none_or(|record| record.kind != kind) {
            return Ok(Hearing::Unknown);
        }
        let HeardValue { incarnation, sequence, name, said, data } = value;
        if self.holders.get(&uid).is_some_and(|holder| holder.kind != kind) {
            return Err(Refusal::invalid(format!("the object {uid} is not {}", with_article(kind))));
        }
        if !kind.is_declared() {
            if state.is_spent(uid) {
                return Err(Refusal::invalid(format!("the uid {uid} belongs to a declared object")));
            }
            check_reported_name(kind, name.as_deref())?;
        }
        if !data.is_object() || is_deeper(&data, SLOT_DEPTH_MAX) {
            return Err(Refusal::invalid("data is no object, or nested too deep"));
        }
        let data = Json::new(&data);
        self.check_heard(&reporter, (uid, facet), data.text().len())?;
        let of = self.reporters.entry(Arc::clone(&reporter));
        of.or_insert_with(|| Reporter { origin: Some(origin), ..Reporter::default() });
        let record = SlotRecord { reporter, origin: Some(origin), facet, incarnation, sequence, received: said, data };
        Ok(Hearing::Taken(self.put(kind, uid, name, record)))
    }

    /// A reporter of another node stood by every state that it has said. Costs the same, however many they are.
    pub(crate) fn stood(&mut self, origin: Uid, reporter: &str, at: BootInstant) {
        let Some(known) = self.reporters.get_mut(reporter).filter(|known| known.origin == Some(origin)) else { return };
        if known.stood.is_none_or(|stood| stood.at < at) {
            known.stood = Some(Stood { at, incarnation: None });
        }
    }

    /// What takes the place of an older value needs no more room than it has more bytes.
    fn check_heard(&self, reporter: &Arc<str>, (uid, facet): (Uid, Facet), bytes: usize) -> Result<(), Refusal> {
        let Totals { slots, bytes: held, reported } = self.heard;
        let holder = self.holders.get(&uid);
        let old = holder.and_then(|holder| holder.slots.get(&(Arc::clone(reporter), facet)));
        let old_bytes = old.map_or(0, |old| old.data.text().len());
        let is_new = !self.reporters.contains_key(reporter);
        for (what, needed, most) in [
            ("bytes in a slot", bytes, SLOT_BYTES_MAX),
            ("reporters", self.reporters.len() + usize::from(is_new), REPORTERS_MAX),
            ("slots of others", slots + usize::from(old.is_none()), SLOTS_MAX),
            ("bytes of slots of others", held - old_bytes + bytes, SLOTS_BYTES_MAX),
            ("reported objects of others", reported + usize::from(holder.is_none()), REPORTED_MAX),
        ] {
            if needed > most {
                return Err(Refusal::exhausted(format!("{needed} {what}; at most {most} are held")));
            }
        }
        Ok(())
    }
}
