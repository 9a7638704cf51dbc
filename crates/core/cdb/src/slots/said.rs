//! What this node's reporters have said since it was last taken to be told to other nodes.
//!
//! **Invariant**: what is taken, applied in order, leads whoever applies it to what this node's reporters say; of each slot at most
//! one note waits.

use std::{collections::BTreeSet, sync::Arc};

use acp_base::Uid;
use acp_wire_model::{Kind, object::Facet};

use super::Slots;
use crate::{limits::UNSENT_MAX, view::SlotRecord};

/// Slots taken at once: some datagrams' worth.
const TAKEN_MAX: usize = 1_024;

/// Which slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotId {
    /// The object's kind.
    pub kind: Kind,
    /// The object's identity.
    pub uid: Uid,
    /// Who speaks of it.
    pub reporter: Arc<str>,
    /// Which half.
    pub facet: Facet,
}

/// What a slot says now, with the name of a reported object; none: nothing any more.
type Now = Option<(Option<Arc<str>>, Arc<SlotRecord>)>;

/// What was said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Slots that were said or taken back.
    pub slots: Vec<(SlotId, Now)>,
    /// Reporters that stand by their states.
    pub confirmed: Vec<Arc<str>>,
    /// The slots are all there are: what is not among them is no more.
    pub is_whole: bool,
    /// More waits.
    pub is_more: bool,
}

/// What waits to be taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unsent {
    slots: BTreeSet<SlotId>,
    confirmed: BTreeSet<Arc<str>>,
    is_whole: bool,
}

impl Unsent {
    pub(super) const fn new() -> Self {
        Self { slots: BTreeSet::new(), confirmed: BTreeSet::new(), is_whole: false }
    }

    /// A slot says something else. When too much waits, everything is told anew.
    pub(super) fn note(&mut self, slot: SlotId) {
        if self.is_whole {
            return;
        }
        self.slots.insert(slot);
        if self.slots.len() > UNSENT_MAX {
            self.slots.clear();
            self.is_whole = true;
        }
    }

    pub(super) fn confirm(&mut self, reporter: &Arc<str>) {
        self.confirmed.insert(Arc::clone(reporter));
    }
}

impl Slots {
    /// Whether this node's reporters have said something that was not taken.
    pub(crate) fn has_said(&self) -> bool {
        let Unsent { slots, confirmed, is_whole } = &self.said;
        *is_whole || !slots.is_empty() || !confirmed.is_empty()
    }

    /// Takes what was said, some of it at a time.
    pub(crate) fn take_said(&mut self) -> Said {
        let confirmed = std::mem::take(&mut self.said.confirmed).into_iter().collect();
        if std::mem::take(&mut self.said.is_whole) {
            let slots = self.own_slots().collect();
            return Said { slots, confirmed, is_whole: true, is_more: false };
        }
        let rest = match self.said.slots.iter().nth(TAKEN_MAX).cloned() {
            Some(first) => self.said.slots.split_off(&first),
            None => BTreeSet::new(),
        };
        let taken = std::mem::replace(&mut self.said.slots, rest);
        let slots = taken.into_iter().map(|id| (id.clone(), self.said_by(&id))).collect();
        Said { slots, confirmed, is_whole: false, is_more: !self.said.slots.is_empty() }
    }

    fn said_by(&self, id: &SlotId) -> Now {
        let holder = self.holders.get(&id.uid).filter(|holder| holder.kind == id.kind)?;
        let slot = holder.slots.get(&(Arc::clone(&id.reporter), id.facet)).filter(|slot| slot.origin.is_none())?;
        Some((holder.name.clone(), Arc::clone(slot)))
    }

    fn own_slots(&self) -> impl Iterator<Item = (SlotId, Now)> {
        let named = |name: &Option<Arc<str>>, slot: &Arc<SlotRecord>| Some((name.clone(), Arc::clone(slot)));
        self.holders.iter().flat_map(move |(uid, holder)| {
            let own = holder.slots.iter().filter(|(_, slot)| slot.origin.is_none());
            own.map(move |((reporter, facet), slot)| {
                let id = SlotId { kind: holder.kind, uid: *uid, reporter: Arc::clone(reporter), facet: *facet };
                (id, named(&holder.name, slot))
            })
        })
    }

    /// A reporter of this node has the name of one of another node, which was renamed since: its own slots take the place.
    pub(super) fn displace(&mut self, reporter: &str) {
        let Some(known) = self.reporters.get(reporter).filter(|known| known.origin.is_some()) else { return };
        let slots: Vec<_> = known.slots.iter().copied().collect();
        let name: Arc<str> = Arc::from(reporter);
        for key in slots {
            drop(self.take_back(&name, key));
        }
        self.reporters.remove(reporter);
    }
}
