//! What reporters say of objects: held in memory, by their own publications alone.
//!
//! Those of this node publish here; what others say on other nodes is heard ([`heard`]) and noted beside it, within bounds of its
//! own, so that neither takes the other's room.

mod check;
mod heard;
mod said;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use acp_base::{BootInstant, Uid};
use acp_wire_model::{Kind, object::Facet};
use serde_json::Value;

use crate::{
    limits::SLOTS_BYTES_MAX,
    refusal::Refusal,
    state::State,
    view::{SlotRecord, SlotView},
};
pub(crate) use heard::Hearing;
pub use heard::{Heard, HeardValue};
pub use said::{Said, SlotId};

/// One slot, as its reporter publishes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotReport {
    /// The object's kind.
    pub kind: Kind,
    /// The object's identity.
    pub uid: Uid,
    /// The object's name; needed for reported kinds.
    pub name: Option<String>,
    /// Which half.
    pub facet: Facet,
    /// The value; none takes the slot back.
    pub data: Option<Value>,
}

/// What a reporter says at once: all of it is taken, or none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Publication {
    /// The reporter's restart counter; never goes back.
    pub incarnation: u64,
    /// Grows with each publication of the incarnation.
    pub sequence: u64,
    /// The slots.
    pub reports: Vec<SlotReport>,
    /// Takes back every slot of the reporter that is not among the reports.
    pub replace: bool,
}

/// What a publication did to one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SlotChange {
    pub(crate) kind: Kind,
    pub(crate) uid: Uid,
    /// It is about what another node says.
    pub(crate) is_heard: bool,
    pub(crate) what: SlotEffect,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SlotEffect {
    /// It has other slots than before; `stats_only` when nothing but measurements changed.
    Put { stats_only: bool },
    /// A reported object has no slots any more; its name and slots as they were last.
    Gone { name: Arc<str>, slots: Vec<SlotView> },
}

/// What a publication came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Published {
    /// Identities that no declared object has.
    pub(crate) unknown: Vec<Uid>,
    /// In the order of the reports.
    pub(crate) changes: Vec<SlotChange>,
}

/// The slots of one object, and its name if it is a reported one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holder {
    pub(crate) kind: Kind,
    pub(crate) name: Option<Arc<str>>,
    /// Who was first to speak of it: another node.
    is_heard: bool,
    slots: BTreeMap<(Arc<str>, Facet), Arc<SlotRecord>>,
}

impl Holder {
    const fn new(kind: Kind, is_heard: bool) -> Self {
        Self { kind, name: None, is_heard, slots: BTreeMap::new() }
    }

    /// Whether a reporter of this node speaks of it.
    pub(crate) fn is_own(&self) -> bool {
        self.slots.values().any(|slot| slot.origin.is_none())
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Reporter {
    /// The node, if that is not this one.
    origin: Option<Uid>,
    incarnation: u64,
    sequence: u64,
    slots: BTreeSet<(Uid, Facet)>,
    bytes: usize,
    /// When it last stood by its states. Kept here and not in each of them: its word costs the same, however many they are.
    stood: Option<Stood>,
}

/// That a reporter stood by its states.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stood {
    at: BootInstant,
    /// Those of this life alone; none: whatever they are of.
    incarnation: Option<u64>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    slots: usize,
    bytes: usize,
    reported: usize,
}

/// Every slot of every reporter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    holders: BTreeMap<Uid, Holder>,
    names: BTreeMap<Kind, BTreeMap<Arc<str>, BTreeSet<Uid>>>,
    reporters: BTreeMap<Arc<str>, Reporter>,
    /// Of this node's reporters, and of the others.
    own: Totals,
    heard: Totals,
    said: said::Unsent,
    bytes_max: usize,
}

impl Default for Slots {
    fn default() -> Self {
        Self::with_capacity(SLOTS_BYTES_MAX)
    }
}

impl Slots {
    /// No slots, and room for values of so many bytes as JSON.
    pub const fn with_capacity(bytes_max: usize) -> Self {
        Self {
            holders: BTreeMap::new(),
            names: BTreeMap::new(),
            reporters: BTreeMap::new(),
            own: Totals { slots: 0, bytes: 0, reported: 0 },
            heard: Totals { slots: 0, bytes: 0, reported: 0 },
            said: said::Unsent::new(),
            bytes_max,
        }
    }

    /// How many slots are held.
    pub const fn len(&self) -> usize {
        self.own.slots + self.heard.slots
    }

    /// Whether no slot is held.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all values as JSON.
    pub const fn bytes(&self) -> usize {
        self.own.bytes + self.heard.bytes
    }

    pub(crate) fn holder(&self, uid: Uid) -> Option<&Holder> {
        self.holders.get(&uid)
    }

    /// The slots of an object, as they stand.
    pub(crate) fn of(&self, holder: &Holder) -> Vec<SlotView> {
        let view = |slot: &Arc<SlotRecord>| SlotView { slot: Arc::clone(slot), stood: self.stood_by(slot) };
        holder.slots.values().map(view).collect()
    }

    /// When a slot was said or its reporter last stood by it. Measurements are as old as they are.
    fn stood_by(&self, slot: &SlotRecord) -> BootInstant {
        let stood = self.reporters.get(&slot.reporter).and_then(|reporter| reporter.stood);
        let counts = |stood: &Stood| {
            slot.facet == Facet::Meta && stood.incarnation.is_none_or(|incarnation| incarnation == slot.incarnation)
        };
        stood.filter(counts).map_or(slot.received, |stood| stood.at.max(slot.received))
    }

    /// The reported objects of a kind in the order of their names.
    pub(crate) fn reported(&self, kind: Kind) -> impl Iterator<Item = (&Arc<str>, Uid)> {
        let names = self.names.get(&kind).into_iter().flatten();
        names.flat_map(|(name, uids)| uids.iter().map(move |uid| (name, *uid)))
    }

    /// The reported object of this name; of several the one made last, of this node's before those of others.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Uid> {
        let named = self.names.get(&kind)?.get(name)?;
        let own = named.iter().rfind(|uid| self.holder(**uid).is_some_and(Holder::is_own));
        own.or_else(|| named.last()).copied()
    }

    /// The reported object of this name that a reporter of the node called `node` speaks of.
    pub(crate) fn find_on(&self, kind: Kind, node: &str, name: &str) -> Option<Uid> {
        let named = self.names.get(&kind)?.get(name)?;
        let is_there = |slot: &SlotRecord| slot.reporter.rsplit_once('@').is_some_and(|(_, on)| on == node);
        let of = |uid: &Uid| self.holder(*uid).is_some_and(|holder| holder.slots.values().any(|slot| is_there(slot)));
        named.iter().rfind(|uid| of(uid)).copied()
    }

    /// Takes what a reporter says; refused, nothing of it.
    ///
    /// A value that is the same as before counts as received again, but as no change: whoever publishes in answer to a
    /// change would otherwise answer itself for ever. A publication without reports is a heartbeat: the reporter stands by
    /// every state it has said; measurements are as old as they are.
    pub(crate) fn publish(
        &mut self,
        state: &State,
        now: BootInstant,
        reporter: &str,
        publication: Publication,
    ) -> Result<Published, Refusal> {
        self.check_order(reporter, &publication)?;
        self.displace(reporter);
        let values = self.check_reports(state, &publication)?;
        self.check_room(reporter, &publication, &values)?;
        let name =
            self.reporters.get_key_value(reporter).map_or_else(|| Arc::from(reporter), |(name, _)| Arc::clone(name));
        let known = self.reporters.entry(Arc::clone(&name)).or_default();
        (known.incarnation, known.sequence) = (publication.incarnation, publication.sequence);
        if publication.reports.is_empty() && !publication.replace {
            // What an earlier life of the reporter said is not confirmed by a later one.
            known.stood = Some(Stood { at: now, incarnation: Some(publication.incarnation) });
            self.said.confirm(&name);
            return Ok(Published::default());
        }
        let mut stale = if publication.replace { known.slots.clone() } else { BTreeSet::new() };
        let mut published = Published::default();
        for (report, value) in publication.reports.into_iter().zip(values) {
            let key = (report.uid, report.facet);
            if report.kind.is_declared() && state.get(report.uid).is_none_or(|record| record.kind != report.kind) {
                published.unknown.push(report.uid);
                continue;
            }
            let change = match value {
                Some(data) => {
                    stale.remove(&key);
                    let slot = SlotRecord {
                        reporter: Arc::clone(&name),
                        origin: None,
                        facet: report.facet,
                        incarnation: publication.incarnation,
                        sequence: publication.sequence,
                        received: now,
                        data,
                    };
                    self.put(report.kind, report.uid, report.name, slot)
                }
                None => self.take_back(&name, key),
            };
            published.changes.extend(change);
        }
        published.changes.extend(stale.into_iter().filter_map(|key| self.take_back(&name, key)).collect::<Vec<_>>());
        Ok(published)
    }

    /// Drops every slot of a declared kind whose object this state does not have.
    pub(crate) fn keep_declared(&mut self, state: &State) {
        let is_gone = |uid: &Uid, holder: &Holder| {
            holder.kind.is_declared() && state.get(*uid).is_none_or(|record| record.kind != holder.kind)
        };
        let gone: Vec<Uid> =
            self.holders.iter().filter(|(uid, holder)| is_gone(uid, holder)).map(|(uid, _)| *uid).collect();
        for uid in gone {
            drop(self.forget(uid));
        }
    }

    /// Drops every slot of an object that is declared no more, and answers them.
    pub(crate) fn forget(&mut self, uid: Uid) -> Vec<SlotView> {
        let slots = self.holders.get(&uid).map(|holder| self.of(holder)).unwrap_or_default();
        for slot in &slots {
            self.take_back(&slot.reporter, (uid, slot.facet));
        }
        slots
    }

    fn put(&mut self, kind: Kind, uid: Uid, name: Option<String>, slot: SlotRecord) -> Option<SlotChange> {
        // A reported object that is new has a new name, so `renamed` covers its birth.
        let is_heard = slot.origin.is_some();
        // What this node's reporters call an object counts before what others call it.
        let may_name = !is_heard || !self.holder(uid).is_some_and(Holder::is_own);
        let renamed =
            !kind.is_declared() && may_name && self.rename((kind, uid), name.unwrap_or_default().as_str(), is_heard);
        let holder = self.holders.entry(uid).or_insert_with(|| Holder::new(kind, is_heard));
        let (facet, bytes) = (slot.facet, slot.data.text().len());
        let key = (Arc::clone(&slot.reporter), facet);
        let old = holder.slots.get(&key);
        let is_same = old.is_some_and(|old| old.data == slot.data);
        let old_bytes = old.map(|old| old.data.text().len());
        if let Some(reporter) = self.reporters.get_mut(&key.0) {
            reporter.slots.insert((uid, facet));
            reporter.bytes = reporter.bytes + bytes - old_bytes.unwrap_or(0);
        }
        if !is_heard {
            self.said.note(SlotId { kind, uid, reporter: Arc::clone(&key.0), facet });
        }
        holder.slots.insert(key, Arc::new(slot));
        let totals = self.totals(is_heard);
        totals.bytes = totals.bytes + bytes - old_bytes.unwrap_or(0);
        totals.slots += usize::from(old_bytes.is_none());
        if is_same && !renamed {
            return None;
        }
        let stats_only = facet == Facet::Stats && !renamed;
        Some(SlotChange { kind, uid, is_heard, what: SlotEffect::Put { stats_only } })
    }

    fn take_back(&mut self, reporter: &Arc<str>, (uid, facet): (Uid, Facet)) -> Option<SlotChange> {
        let holder = self.holders.get(&uid)?;
        let before = (holder.slots.len() == 1).then(|| self.of(holder));
        let holder = self.holders.get_mut(&uid)?;
        let slot = holder.slots.remove(&(Arc::clone(reporter), facet))?;
        let (kind, is_heard) = (holder.kind, slot.origin.is_some());
        if !is_heard {
            self.said.note(SlotId { kind, uid, reporter: Arc::clone(reporter), facet });
        }
        let totals = self.totals(is_heard);
        totals.slots -= 1;
        totals.bytes -= slot.data.text().len();
        if let Some(reporter) = self.reporters.get_mut(reporter) {
            reporter.slots.remove(&(uid, facet));
            reporter.bytes -= slot.data.text().len();
        }
        let ended = before.map(|slots| (self.remove_holder(uid), slots));
        let what = match ended {
            Some((Some(name), slots)) => SlotEffect::Gone { name, slots },
            Some((None, _)) | None => SlotEffect::Put { stats_only: facet == Facet::Stats },
        };
        Some(SlotChange { kind, uid, is_heard, what })
    }

    /// Makes sure that the reported object exists under this name; answers whether it did not.
    fn rename(&mut self, (kind, uid): (Kind, Uid), name: &str, is_heard: bool) -> bool {
        let old = self.holders.get(&uid).and_then(|holder| holder.name.clone());
        if old.as_deref() == Some(name) {
            return false;
        }
        if let Some(old) = &old {
            self.drop_name(kind, old, uid);
        }
        let name: Arc<str> = Arc::from(name);
        self.names.entry(kind).or_default().entry(Arc::clone(&name)).or_default().insert(uid);
        let holder = self.holders.entry(uid).or_insert_with(|| Holder::new(kind, is_heard));
        holder.name = Some(name);
        let is_heard = holder.is_heard;
        self.totals(is_heard).reported += usize::from(old.is_none());
        true
    }

    /// Removes the object's entry; answers its name if it was a reported one.
    fn remove_holder(&mut self, uid: Uid) -> Option<Arc<str>> {
        let holder = self.holders.remove(&uid)?;
        let name = holder.name?;
        self.drop_name(holder.kind, &name, uid);
        self.totals(holder.is_heard).reported -= 1;
        Some(name)
    }

    const fn totals(&mut self, is_heard: bool) -> &mut Totals {
        if is_heard { &mut self.heard } else { &mut self.own }
    }

    fn drop_name(&mut self, kind: Kind, name: &str, uid: Uid) {
        let Some(names) = self.names.get_mut(&kind) else { return };
        if let Some(uids) = names.get_mut(name) {
            uids.remove(&uid);
            if uids.is_empty() {
                names.remove(name);
            }
        }
    }
}
