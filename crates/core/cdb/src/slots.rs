//! What reporters say of objects: held in memory, by their own publications alone.

mod check;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use acp_base::{BootInstant, Uid};
use acp_wire_model::{Kind, object::Facet};
use serde_json::Value;

use crate::{limits::SLOTS_BYTES_MAX, refusal::Refusal, state::State, view::SlotRecord};

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
    pub(crate) what: SlotEffect,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SlotEffect {
    /// It has other slots than before; `stats_only` when nothing but measurements changed.
    Put { stats_only: bool },
    /// A reported object has no slots any more; its name and slots as they were last.
    Gone { name: Arc<str>, slots: Vec<Arc<SlotRecord>> },
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
    slots: BTreeMap<(Arc<str>, Facet), Arc<SlotRecord>>,
}

impl Holder {
    pub(crate) fn slots(&self) -> Vec<Arc<SlotRecord>> {
        self.slots.values().cloned().collect()
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Reporter {
    incarnation: u64,
    sequence: u64,
    slots: BTreeSet<(Uid, Facet)>,
    bytes: usize,
}

/// Every slot of every reporter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    holders: BTreeMap<Uid, Holder>,
    names: BTreeMap<Kind, BTreeMap<Arc<str>, BTreeSet<Uid>>>,
    reporters: BTreeMap<Arc<str>, Reporter>,
    count: usize,
    bytes: usize,
    reported: usize,
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
            count: 0,
            bytes: 0,
            reported: 0,
            bytes_max,
        }
    }

    /// How many slots are held.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether no slot is held.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all values as JSON.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn holder(&self, uid: Uid) -> Option<&Holder> {
        self.holders.get(&uid)
    }

    /// The reported objects of a kind in the order of their names.
    pub(crate) fn reported(&self, kind: Kind) -> impl Iterator<Item = (&Arc<str>, Uid)> {
        let names = self.names.get(&kind).into_iter().flatten();
        names.flat_map(|(name, uids)| uids.iter().map(move |uid| (name, *uid)))
    }

    /// The reported object of this name; of several the one made last.
    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Uid> {
        self.names.get(&kind)?.get(name)?.last().copied()
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
        let values = self.check_reports(state, &publication)?;
        self.check_room(reporter, &publication, &values)?;
        let name =
            self.reporters.get_key_value(reporter).map_or_else(|| Arc::from(reporter), |(name, _)| Arc::clone(name));
        let known = self.reporters.entry(Arc::clone(&name)).or_default();
        (known.incarnation, known.sequence) = (publication.incarnation, publication.sequence);
        if publication.reports.is_empty() && !publication.replace {
            self.confirm(&name, publication.incarnation, now);
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

    /// What an earlier life of the reporter said is not confirmed by a later one.
    fn confirm(&mut self, reporter: &Arc<str>, incarnation: u64, now: BootInstant) {
        let own = self.reporters.get(reporter).into_iter().flat_map(|known| &known.slots);
        for (uid, facet) in own.filter(|(_, facet)| *facet == Facet::Meta) {
            let slots = self.holders.get_mut(uid).map(|holder| &mut holder.slots);
            let slot = slots.and_then(|slots| slots.get_mut(&(Arc::clone(reporter), *facet)));
            if let Some(slot) = slot.filter(|slot| slot.incarnation == incarnation) {
                Arc::make_mut(slot).received = now;
            }
        }
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
    pub(crate) fn forget(&mut self, uid: Uid) -> Vec<Arc<SlotRecord>> {
        let slots = self.holders.get(&uid).map(Holder::slots).unwrap_or_default();
        for slot in &slots {
            self.take_back(&slot.reporter, (uid, slot.facet));
        }
        slots
    }

    fn put(&mut self, kind: Kind, uid: Uid, name: Option<String>, slot: SlotRecord) -> Option<SlotChange> {
        // A reported object that is new has a new name, so `renamed` covers its birth.
        let renamed = !kind.is_declared() && self.rename(kind, uid, name.unwrap_or_default().as_str());
        let holder = self.holders.entry(uid).or_insert_with(|| Holder { kind, name: None, slots: BTreeMap::new() });
        let (facet, bytes) = (slot.facet, slot.data.text().len());
        let key = (Arc::clone(&slot.reporter), facet);
        let old = holder.slots.get(&key);
        let is_same = old.is_some_and(|old| old.data == slot.data);
        let old_bytes = old.map(|old| old.data.text().len());
        if let Some(reporter) = self.reporters.get_mut(&key.0) {
            reporter.slots.insert((uid, facet));
            reporter.bytes = reporter.bytes + bytes - old_bytes.unwrap_or(0);
        }
        holder.slots.insert(key, Arc::new(slot));
        self.bytes = self.bytes + bytes - old_bytes.unwrap_or(0);
        self.count += usize::from(old_bytes.is_none());
        if is_same && !renamed {
            return None;
        }
        let stats_only = facet == Facet::Stats && !renamed;
        Some(SlotChange { kind, uid, what: SlotEffect::Put { stats_only } })
    }

    fn take_back(&mut self, reporter: &Arc<str>, (uid, facet): (Uid, Facet)) -> Option<SlotChange> {
        let holder = self.holders.get_mut(&uid)?;
        let before = (holder.slots.len() == 1).then(|| holder.slots());
        let slot = holder.slots.remove(&(Arc::clone(reporter), facet))?;
        let kind = holder.kind;
        self.count -= 1;
        self.bytes -= slot.data.text().len();
        if let Some(reporter) = self.reporters.get_mut(reporter) {
            reporter.slots.remove(&(uid, facet));
            reporter.bytes -= slot.data.text().len();
        }
        let ended = before.map(|slots| (self.remove_holder(uid), slots));
        let what = match ended {
            Some((Some(name), slots)) => SlotEffect::Gone { name, slots },
            Some((None, _)) | None => SlotEffect::Put { stats_only: facet == Facet::Stats },
        };
        Some(SlotChange { kind, uid, what })
    }

    /// Makes sure that the reported object exists under this name; answers whether it did not.
    fn rename(&mut self, kind: Kind, uid: Uid, name: &str) -> bool {
        let old = self.holders.get(&uid).and_then(|holder| holder.name.clone());
        if old.as_deref() == Some(name) {
            return false;
        }
        if let Some(old) = &old {
            self.drop_name(kind, old, uid);
        }
        let name: Arc<str> = Arc::from(name);
        self.names.entry(kind).or_default().entry(Arc::clone(&name)).or_default().insert(uid);
        self.reported += usize::from(old.is_none());
        let holder = self.holders.entry(uid).or_insert_with(|| Holder { kind, name: None, slots: BTreeMap::new() });
        holder.name = Some(name);
        true
    }

    /// Removes the object's entry; answers its name if it was a reported one.
    fn remove_holder(&mut self, uid: Uid) -> Option<Arc<str>> {
        let holder = self.holders.remove(&uid)?;
        let name = holder.name?;
        self.drop_name(holder.kind, &name, uid);
        self.reported -= 1;
        Some(name)
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
