//! The slots of other nodes.
//!
//! Each origin is followed by itself. What is missing is asked for after a jittered wait, unless somebody else has asked the
//! group meanwhile or the answer has come. An origin that is not heard keeps its slots, whose age grows; other nodes are then
//! asked what they hold of it.
//!
//! **Invariant**: origins, slots and bytes stay below the bounds of [`Config`]; nothing of a lower incarnation is taken.

mod abroad;
mod fetches;
mod followed;
mod nacks;
mod neighbours;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use acp_base::{BootInstant, Uid};

use crate::{
    counters::Counters,
    limits::{Config, FORGOTTEN_MAX},
    random::Random,
    slot::{Hash, Origin, SlotKey, Value},
    wire::{Delta, Digest},
};
pub(crate) use abroad::Stance;
pub(crate) use fetches::{Ask, Fetches, Taken, lowest};
use followed::{Changes, Followed, Held};
use room::Room;

/// A slot of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The newest value that is known here.
    pub value: Arc<[u8]>,
    /// The origin's number of this change.
    pub sequence: u64,
    /// How long ago it was said, as far as that is known: time on the way is not counted.
    pub age: Duration,
    /// Another node than its own has said it.
    pub relayed: bool,
}

/// How far an origin is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginState {
    /// Which life of it.
    pub origin: Origin,
    /// Since when neither it itself has been heard nor, of another domain, a relay that hears it; none if that never was.
    pub silence: Option<Duration>,
    /// The relay of this domain that was heard last, of an origin of another one; none at this relay itself.
    pub via: Option<Uid>,
    /// All that it is known to have said is here.
    pub is_whole: bool,
    /// Slots held, tombstones among them.
    pub slots: usize,
    /// Bytes of their values.
    pub bytes: usize,
}

/// What a message changed, for the facade to say.
#[derive(Debug)]
pub(crate) enum Change {
    /// This slot.
    Slot(Origin, SlotKey),
    /// It is gone with its origin.
    Gone(Origin, SlotKey),
}

/// The slots of other nodes.
#[derive(Debug)]
pub(crate) struct Replica {
    config: Config,
    origins: BTreeMap<Uid, Followed>,
    timers: BTreeSet<(BootInstant, Uid)>,
    room: Room,
    /// The nodes of other domains, and which.
    abroad: BTreeMap<Uid, Arc<str>>,
    forgotten: BTreeSet<Uid>,
    forgotten_order: std::collections::VecDeque<Uid>,
    pub(crate) fetches: Fetches,
}

impl Replica {
    pub(crate) const fn new(config: Config) -> Self {
        Self {
            config,
            origins: BTreeMap::new(),
            timers: BTreeSet::new(),
            room: Room::new(config),
            abroad: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            forgotten_order: std::collections::VecDeque::new(),
            fetches: Fetches::new(),
        }
    }

    pub(crate) fn is_forgotten(&self, node: Uid) -> bool {
        self.forgotten.contains(&node)
    }

    /// Takes a delta, of the origin itself or relayed.
    pub(crate) fn take(
        &mut self,
        now: BootInstant,
        delta: Delta,
        random: &mut Random,
        counters: &mut Counters,
    ) -> Vec<Change> {
        let (origin, relayed) = (delta.origin, delta.relayed);
        let mut changes = Vec::new();
        if !self.enter(now, origin, relayed, random, counters, &mut changes) {
            return changes;
        }
        let Some(followed) = self.origins.get_mut(&origin.node) else { return changes };
        let (mut changed, refused) = (Changes::new(), self.room.refused);
        if !followed.take(now, delta, &mut self.room, &mut changed) {
            counters.deferred += 1;
        }
        counters.no_room += self.room.refused - refused;
        self.reschedule(now, origin.node, random);
        changes.extend(self.changed(now, origin, changed));
        changes
    }

    /// Takes a digest; true if this replica holds the same.
    pub(crate) fn compare(
        &mut self,
        now: BootInstant,
        digest: &Digest,
        random: &mut Random,
        counters: &mut Counters,
    ) -> (bool, Vec<Change>) {
        let mut changes = Vec::new();
        if !self.enter(now, digest.origin, false, random, counters, &mut changes) {
            return (false, changes);
        }
        let Some(followed) = self.origins.get_mut(&digest.origin.node) else { return (false, changes) };
        let mut changed = Changes::new();
        let same = followed.compare(now, digest, &mut self.room, &mut changed);
        self.reschedule(now, digest.origin.node, random);
        changes.extend(self.changed(now, digest.origin, changed));
        (same, changes)
    }

    /// Makes sure that this incarnation is followed; false if a higher one is, or there is no room.
    fn enter(
        &mut self,
        now: BootInstant,
        origin: Origin,
        relayed: bool,
        random: &mut Random,
        counters: &mut Counters,
        changes: &mut Vec<Change>,
    ) -> bool {
        let known = self.origins.get(&origin.node).map(|followed| followed.origin.incarnation);
        match known {
            None if self.origins.len() >= self.config.origins_max => {
                counters.no_room += 1;
                return false;
            }
            Some(known) if origin.incarnation < known => {
                counters.stale_incarnation += 1;
                if !relayed {
                    self.overtake(now, origin.node, random);
                }
                return false;
            }
            Some(known) if origin.incarnation > known => changes.extend(self.drop_origin(origin.node)),
            None | Some(_) => {}
        }
        let followed = self.origins.entry(origin.node).or_insert_with(|| Followed::new(origin));
        if !relayed {
            followed.heard = Some(now);
        }
        true
    }

    /// Slots that can be shown; those whose value has to be fetched first are noted.
    fn changed(&mut self, now: BootInstant, origin: Origin, keys: Changes) -> Vec<Change> {
        let Some(followed) = self.origins.get(&origin.node) else { return Vec::new() };
        let mut changes = Vec::new();
        for key in keys {
            let value = followed.slots.get(&key).and_then(|held| held.value.as_ref());
            if value.is_some_and(|value| value.bytes().is_none()) {
                self.fetches.want(now, origin.node, key);
            } else {
                changes.push(Change::Slot(origin, key));
            }
        }
        changes
    }

    /// When there is something to ask.
    pub(crate) fn next_deadline(&self) -> Option<BootInstant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.fetches.next_deadline()).min()
    }

    /// The bytes of a large value that is held.
    pub(crate) fn large(&self, origin: Origin, key: &SlotKey, wanted: Hash) -> Option<&Arc<[u8]>> {
        let followed = self.origins.get(&origin.node).filter(|followed| followed.origin == origin)?;
        match followed.slots.get(key)?.value.as_ref()? {
            Value::Large { hash, bytes, .. } if *hash == wanted => bytes.as_ref(),
            Value::Large { .. } | Value::Inline(_) => None,
        }
    }

    /// What is still to be fetched of a slot.
    fn to_fetch(&self, node: Uid, key: &SlotKey) -> Option<(Origin, Hash, u32)> {
        let followed = self.origins.get(&node)?;
        match followed.slots.get(key)?.value.as_ref()? {
            Value::Large { hash, length, bytes: None } => Some((followed.origin, *hash, *length)),
            Value::Large { .. } | Value::Inline(_) => None,
        }
    }

    /// What is to be asked for of large values.
    pub(crate) fn asks(&mut self, now: BootInstant, random: &mut Random) -> Vec<Ask> {
        let mut fetches = std::mem::replace(&mut self.fetches, Fetches::new());
        let asks = fetches.wake(now, random, |node, key| self.to_fetch(node, key));
        self.fetches = fetches;
        asks
    }

    /// A value that was fetched.
    pub(crate) fn fetched(&mut self, node: Uid, key: &SlotKey, wanted: Hash, fetched: Arc<[u8]>) -> Option<Change> {
        let followed = self.origins.get_mut(&node)?;
        match followed.slots.get_mut(key)?.value.as_mut()? {
            Value::Large { hash, bytes, .. } if *hash == wanted => *bytes = Some(fetched),
            Value::Large { .. } | Value::Inline(_) => return None,
        }
        Some(Change::Slot(followed.origin, key.clone()))
    }

    /// Drops all that a node said and takes nothing of it any more.
    pub(crate) fn forget(&mut self, node: Uid) -> Vec<Change> {
        if self.forgotten.insert(node) {
            self.forgotten_order.push_back(node);
        }
        if self.forgotten_order.len() > FORGOTTEN_MAX
            && let Some(oldest) = self.forgotten_order.pop_front()
        {
            self.forgotten.remove(&oldest);
        }
        self.abroad.remove(&node);
        self.drop_origin(node)
    }

    /// Takes again what a node says.
    pub(crate) fn admit(&mut self, node: Uid) {
        if self.forgotten.remove(&node) {
            self.forgotten_order.retain(|other| *other != node);
        }
    }

    fn drop_origin(&mut self, node: Uid) -> Vec<Change> {
        self.set_timer(node, None);
        let Some(followed) = self.origins.remove(&node) else { return Vec::new() };
        followed.vacate(&mut self.room);
        self.fetches.forget(node);
        let origin = followed.origin;
        let living = followed.slots.into_iter().filter(|(_, held)| held.value.is_some());
        living.map(|(key, _)| Change::Gone(origin, key)).collect()
    }

    pub(crate) fn is_silent(&self, now: BootInstant, node: Uid) -> bool {
        self.origins.get(&node).is_none_or(|followed| followed.is_silent(now))
    }

    /// The nodes of this domain that can be heard.
    pub(crate) fn heard(&self, now: BootInstant) -> impl Iterator<Item = Uid> {
        let heard = self.origins.iter().filter(move |(_, followed)| !followed.is_silent(now));
        heard.map(|(node, _)| *node).filter(|node| !self.abroad.contains_key(node))
    }

    pub(crate) fn get(&self, now: BootInstant, node: Uid, key: &SlotKey) -> Option<Slot> {
        shown(now, self.origins.get(&node)?.slots.get(key)?)
    }

    pub(crate) fn slots(&self, now: BootInstant, node: Uid) -> impl Iterator<Item = (&SlotKey, Slot)> {
        let slots = self.origins.get(&node).into_iter().flat_map(|followed| &followed.slots);
        slots.filter_map(move |(key, held)| Some((key, shown(now, held)?)))
    }

    pub(crate) fn origins(&self, now: BootInstant) -> impl Iterator<Item = OriginState> {
        self.origins.values().map(move |followed| OriginState {
            origin: followed.origin,
            silence: followed.heard.map(|at| now.since(at)),
            via: followed.via,
            is_whole: followed.is_whole(),
            slots: followed.slots.len(),
            bytes: followed.bytes(),
        })
    }

    /// Slots and bytes of all origins.
    pub(crate) const fn used(&self) -> (usize, usize) {
        (self.room.slots, self.room.bytes)
    }
}

fn shown(now: BootInstant, held: &Held) -> Option<Slot> {
    let value = Arc::clone(held.value.as_ref()?.bytes()?);
    Some(Slot { value, sequence: held.sequence, age: held.age(now), relayed: held.relayed })
}
