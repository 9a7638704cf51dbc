//! One origin as it is followed here.
//!
//! Deltas name all that stands under their sequences, so what was received is a set of sequences, and an item is taken when its
//! sequence is new here and above that of its slot. Gaps are asked for.
//!
//! The set says what to ask for, not what is held: a sequence that came as void speaks of a newer value, which may be among
//! those that are lost. So of two replicas that have received the same one can hold what the other does not. While the origin
//! lives, its digest shows that; after its death the survivors' summaries do, by a **hash of what they hold**. Then each tells
//! the other all that it holds, and an item is taken where its sequence is void: of each slot the highest sequence that
//! anybody holds stands. Not so up to the horizon, where the newer value may have been a tombstone that nobody keeps any more:
//! there a slot that is void for one ends for all.
//!
//! When a gap reaches below the origin's horizon, the tombstone that it hides may be gone. Then the replica **sweeps**: it asks
//! for everything up to there again, doubts each slot that it holds under a sequence which is not named any more, and drops
//! those that are still in doubt when nothing is missing.
//!
//! **Invariant**: a slot's sequence only grows, and what has been deleted comes back under a higher one alone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{BootInstant, Uid};
use acp_wire_model::object::Facet;

use super::room::Room;
use crate::{
    limits::{SILENT_AFTER, SWEEP_RETRY, SWEEP_RETRY_MAX, TOMBSTONE_KEPT, TOMBSTONES_HELD_MAX},
    pack::Frame,
    publisher::item,
    ranges::{Range, Ranges},
    slot::{Origin, Rolling, SlotKey, Value},
    wire::{Delta, Digest, Header, Item, Known, Said},
};

/// A slot of another node; without a value its tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) sequence: u64,
    pub(crate) value: Option<Value>,
    /// When it came here.
    pub(crate) received: BootInstant,
    /// How old it was then.
    pub(crate) age: Duration,
    pub(crate) relayed: bool,
}

impl Held {
    pub(crate) fn age(&self, now: BootInstant) -> Duration {
        self.age.saturating_add(now.since(self.received))
    }
}

/// A slot that was not named where it would be if it still stood as it is held.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The sequence under which it is held.
    sequence: u64,
    /// It is gone once all is here up to this sequence and it is still held so.
    until: u64,
}

/// What a message changed.
pub(crate) type Changes = Vec<SlotKey>;

/// One origin.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) origin: Origin,
    /// The newest sequence that is known of.
    newest: u64,
    /// Up to where somebody said that tombstones may be gone.
    heeded: u64,
    /// Up to where they may be gone here.
    horizon: u64,
    received: Ranges,
    sweep: Ranges,
    /// What the sweep's answers have to know of at least.
    sweep_floor: u64,
    sweep_at: Option<BootInstant>,
    sweeps: u32,
    doubts: BTreeMap<SlotKey, Doubt>,
    pub(crate) slots: BTreeMap<SlotKey, Held>,
    order: BTreeMap<u64, SlotKey>,
    tombstones: BTreeMap<u64, BootInstant>,
    rolling: Rolling,
    bytes: usize,
    /// A value was not taken because there was no room.
    is_starved: bool,
    /// When the origin itself was last heard, or a relay of its domain.
    pub(crate) heard: Option<BootInstant>,
    /// The relay that was heard.
    pub(crate) via: Option<Uid>,
    /// The newest sequence of state that is known of.
    meta_newest: u64,
    /// What other domains are told of where it stands, and when it was said.
    digest: Option<(BootInstant, Digest)>,
    /// The origin was heard under a lower incarnation.
    pub(crate) is_overtaken: bool,
    pub(crate) nack_at: Option<BootInstant>,
    pub(crate) nacks: u32,
}

impl Followed {
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            origin,
            newest: 0,
            heeded: 0,
            horizon: 0,
            received: Ranges::default(),
            sweep: Ranges::default(),
            sweep_floor: 0,
            sweep_at: None,
            sweeps: 0,
            doubts: BTreeMap::new(),
            slots: BTreeMap::new(),
            order: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            rolling: Rolling::default(),
            bytes: 0,
            is_starved: false,
            heard: None,
            via: None,
            meta_newest: 0,
            digest: None,
            is_overtaken: false,
            nack_at: None,
            nacks: 0,
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_silent(&self, now: BootInstant) -> bool {
        self.heard.is_none_or(|at| now.since(at) > SILENT_AFTER)
    }

    /// Whether it holds all that the origin is known to have said.
    pub(crate) fn is_whole(&self) -> bool {
        self.received.contiguous() >= self.newest && self.sweep.is_empty()
    }

    /// What to ask for.
    pub(crate) fn wanted(&self) -> Ranges {
        let mut wanted = self.sweep.clone();
        for range in self.received.missing(self.newest) {
            if !wanted.insert(range) {
                break;
            }
        }
        wanted
    }

    pub(crate) fn known(&self, now: BootInstant) -> Known {
        let sure = if self.sweep.is_empty() { u64::MAX } else { self.sweep.lowest() - 1 };
        Known {
            origin: self.origin,
            contiguous: self.received.contiguous().min(sure),
            highest: self.received.highest(),
            count: self.received.count(),
            hash: (!self.is_starved).then_some(self.rolling.hash),
            silent: self.is_silent(now),
        }
    }

    /// What another node lacks that stands here; nothing where this replica may lack values itself.
    pub(crate) fn ahead_of(&self, now: BootInstant, other: Option<&Known>) -> Ranges {
        let own = self.known(now);
        let other = other.filter(|other| other.origin.incarnation >= own.origin.incarnation);
        let is_newer = other.is_some_and(|other| other.origin.incarnation > own.origin.incarnation);
        let is_ahead = other.is_none_or(|other| {
            own.contiguous > other.contiguous || own.highest > other.highest || own.count > other.count
        });
        let differs = other.is_some_and(|other| differ(&own, other));
        if is_newer || !(is_ahead || differs) || self.is_starved {
            return Ranges::default();
        }
        let mut lacking = self.received.clone();
        let from = other.filter(|_| !differs).map_or(0, |other| other.contiguous);
        if from > 0 && !lacking.remove(Range(1, from)) {
            return Ranges::default();
        }
        lacking
    }

    /// What stands under these sequences here.
    pub(crate) fn items(&self, now: BootInstant, range: Range) -> impl Iterator<Item = Item> {
        self.order.range(range.0..=range.1).filter_map(move |(sequence, key)| {
            let held = self.slots.get(key)?;
            let mut item = item(now, key, *sequence, held.value.as_ref(), now);
            item.age_ms = crate::publisher::millis(held.age(now));
            Some(item)
        })
    }

    /// What was received.
    pub(crate) const fn received(&self) -> &Ranges {
        &self.received
    }

    pub(crate) const fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// The newest sequence of state, and what other domains are told of where it stands: it grows old on the way.
    pub(crate) fn abroad(&self, now: BootInstant) -> (u64, Option<Digest>) {
        let digest = self.digest.as_ref().map(|(at, digest)| {
            let mut digest = digest.clone();
            digest.grow_old(now.since(*at));
            digest
        });
        (self.meta_newest, digest)
    }

    /// What other domains are told of these sequences: state alone, and no more of it than is here.
    pub(crate) fn items_abroad(
        &self,
        now: BootInstant,
        header: Header,
        range: Range,
    ) -> (Frame, impl Iterator<Item = Item>) {
        let newest = range.1.max(self.meta_newest.min(self.view(range.1).0));
        let frame = Frame { header, origin: self.origin, relayed: true, newest, horizon: self.horizon.min(newest) };
        (frame, self.items(now, range).filter(|item| item.key.facet == Facet::Meta))
    }

    /// Up to where this replica knows what stands, seen from a sequence that it has received; and the horizon there.
    pub(crate) fn view(&self, sequence: u64) -> (u64, u64) {
        let end = self.received.iter().find(|range| range.1 >= sequence).map_or(sequence, |range| range.1);
        (end, self.horizon.min(end))
    }

    /// Takes what a delta says of this origin's incarnation. False if it has to come again: too many gaps.
    pub(crate) fn take(&mut self, now: BootInstant, delta: Delta, room: &mut Room, changes: &mut Changes) -> bool {
        let range = Range(delta.first, delta.last);
        let mut received = self.received.clone();
        if !received.insert(range) {
            return false;
        }
        self.heed_horizon(delta.horizon);
        self.newest = self.newest.max(delta.newest);
        let sweeps = !self.sweep.is_empty() && delta.newest >= self.sweep_floor;
        // The origin itself names nothing that it has deleted by then, so this cannot bring anything back.
        let may_retake = sweeps && !delta.relayed && delta.newest == self.newest;
        let named: Vec<u64> = delta.items.iter().map(|item| item.sequence).collect();
        for item in delta.items {
            if (may_retake || self.may_take(item.sequence))
                && self.slots.get(&item.key).is_none_or(|held| held.sequence < item.sequence)
            {
                self.put(now, item, delta.relayed, room, changes);
            }
        }
        let until = if delta.relayed { delta.horizon } else { delta.newest };
        // What is void elsewhere up to the horizon may have been deleted, and does not come back; so it ends here as well.
        let floor = if !self.sweep.is_empty() {
            self.sweep_floor
        } else if delta.relayed {
            delta.horizon
        } else {
            0
        };
        self.doubt(range, floor, &named, until);
        if sweeps {
            // What would split it too often stays to be asked for.
            self.sweep.remove(range);
        }
        self.received = received;
        self.settle(room, changes);
        true
    }

    /// Whether an item under this sequence says something new: it has not come yet, or came as void because of a newer value
    /// that may be lost. Up to the horizon it may be void because it was deleted, and so stays.
    fn may_take(&self, sequence: u64) -> bool {
        let is_void = sequence > self.horizon && !self.order.contains_key(&sequence);
        is_void || !self.received.contains(sequence)
    }

    /// Takes where the origin says that it stands; true if this replica holds the same.
    pub(crate) fn compare(
        &mut self,
        now: BootInstant,
        digest: &Digest,
        room: &mut Room,
        changes: &mut Changes,
    ) -> bool {
        self.heed_horizon(digest.horizon);
        if let Some(abroad) = digest.abroad().filter(|_| digest.newest >= self.newest) {
            self.meta_newest = self.meta_newest.max(abroad.newest);
            self.digest = Some((now, abroad));
        }
        self.newest = self.newest.max(digest.newest);
        self.settle(room, changes);
        if !self.is_whole() || digest.newest < self.newest {
            return false;
        }
        if digest.slots == self.rolling {
            (self.is_starved, self.sweeps, self.sweep_at) = (false, 0, None);
            return true;
        }
        if self.sweep_at.is_none_or(|at| now >= at) {
            let wait = SWEEP_RETRY.saturating_mul(1 << self.sweeps.min(10)).min(SWEEP_RETRY_MAX);
            self.sweep_at = Some(now + wait);
            self.sweeps += 1;
            self.begin_sweep(digest.newest);
        }
        false
    }

    /// Nothing is kept of what was deleted up to the horizon, so whoever lacks anything up to there may hold what is gone.
    fn heed_horizon(&mut self, horizon: u64) {
        if horizon > self.heeded && self.received.contiguous() < horizon {
            self.begin_sweep(horizon);
        }
        self.heeded = self.heeded.max(horizon);
        self.horizon = self.horizon.max(horizon);
    }

    fn begin_sweep(&mut self, to: u64) {
        self.sweep = Ranges::up_to(to);
        self.sweep_floor = to;
    }

    /// Doubts what is held in the range up to `floor` and was not named.
    fn doubt(&mut self, range: Range, floor: u64, named: &[u64], until: u64) {
        let Some(range) = range.and(Range(1, floor)) else { return };
        let held = self.order.range(range.0..=range.1);
        let unnamed = held.filter(|(sequence, _)| named.binary_search(sequence).is_err());
        for (sequence, key) in unnamed {
            self.doubts.entry(key.clone()).or_insert(Doubt { sequence: *sequence, until });
        }
    }

    fn settle(&mut self, room: &mut Room, changes: &mut Changes) {
        if self.doubts.is_empty() {
            return;
        }
        let contiguous = self.received.contiguous();
        let (settled, open) =
            std::mem::take(&mut self.doubts).into_iter().partition(|(_, doubt)| doubt.until <= contiguous);
        self.doubts = open;
        let settled: BTreeMap<SlotKey, Doubt> = settled;
        for (key, doubt) in settled {
            if self.slots.get(&key).is_some_and(|held| held.sequence == doubt.sequence) {
                self.remove(&key, room);
                changes.push(key);
            }
        }
    }

    fn put(&mut self, now: BootInstant, item: Item, relayed: bool, room: &mut Room, changes: &mut Changes) {
        let Item { sequence, age_ms, key, said } = item;
        if key.facet == Facet::Meta {
            self.meta_newest = self.meta_newest.max(sequence);
        }
        let value = match said {
            Said::Value(value) => Some(Value::Inline(value.0)),
            Said::Large(hash, length) => Some(Value::Large { hash, length, bytes: self.bytes_of(&key, hash) }),
            Said::Gone => None,
        };
        let old = self.slots.get(&key).map(|held| held.value.as_ref().map_or(0, Value::size));
        let new = value.as_ref().map_or(0, Value::size);
        if !room.has(old, new, self.slots.len(), self.bytes) {
            self.is_starved = true;
            room.refused += 1;
            return;
        }
        // A sequence stands for one slot; whatever else was held under it was never said so.
        if let Some(other) = self.order.get(&sequence).filter(|other| **other != key).cloned() {
            self.remove(&other, room);
            changes.push(other);
        }
        self.remove(&key, room);
        room.add(new);
        self.bytes += new;
        self.order.insert(sequence, key.clone());
        if value.is_some() {
            self.rolling.add(&key, sequence);
        } else {
            self.tombstones.insert(sequence, now);
        }
        let age = Duration::from_millis(age_ms);
        self.slots.insert(key.clone(), Held { sequence, value, received: now, age, relayed });
        changes.push(key);
        self.drop_tombstones(now, room);
    }

    /// A large value that is said again is not fetched again.
    fn bytes_of(&self, key: &SlotKey, wanted: crate::slot::Hash) -> Option<Arc<[u8]>> {
        match self.slots.get(key)?.value.as_ref()? {
            Value::Large { hash, bytes, .. } if *hash == wanted => bytes.clone(),
            Value::Large { .. } | Value::Inline(_) => None,
        }
    }

    fn drop_tombstones(&mut self, now: BootInstant, room: &mut Room) {
        while let Some((sequence, at)) = self.tombstones.first_key_value().map(|(sequence, at)| (*sequence, *at)) {
            if self.tombstones.len() <= TOMBSTONES_HELD_MAX && now.since(at) < TOMBSTONE_KEPT {
                break;
            }
            self.horizon = self.horizon.max(sequence);
            if let Some(key) = self.order.get(&sequence).cloned() {
                self.remove(&key, room);
            }
        }
    }

    fn remove(&mut self, key: &SlotKey, room: &mut Room) {
        self.doubts.remove(key);
        let Some(old) = self.slots.remove(key) else { return };
        self.order.remove(&old.sequence);
        self.tombstones.remove(&old.sequence);
        let bytes = old.value.as_ref().map_or(0, Value::size);
        if old.value.is_some() {
            self.rolling.remove(key, old.sequence);
        }
        self.bytes -= bytes;
        room.remove(bytes);
    }

    /// Gives back its room.
    pub(crate) fn vacate(&self, room: &mut Room) {
        room.slots -= self.slots.len();
        room.bytes -= self.bytes;
    }
}

/// Whether two replicas that have received as much as each other hold different things.
fn differ(one: &Known, other: &Known) -> bool {
    let as_far = one.contiguous == other.contiguous && one.highest == other.highest && one.count == other.count;
    as_far && one.hash.zip(other.hash).is_some_and(|(one, other)| one != other)
}
