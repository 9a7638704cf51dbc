//! The slots of this node: what its reporters say, numbered as it is sent.
//!
//! A change that has not been sent yet is replaced by the next of its slot. What is sent gets the next sequence, and the
//! sequence that its slot had before is void from then on: whoever asks for it gets what is newest, never history.
//!
//! **Invariant**: each slot with a value, and each tombstone above the horizon, stands under exactly one sequence.

mod lanes;

use std::{collections::BTreeMap, sync::Arc};

use acp_base::BootInstant;
use acp_wire_model::object::Facet;

use crate::{
    limits::{
        Config, DATAGRAMS_PER_WAKE, FLUSH_DELAY, PACE, REPORTER_BYTES_MAX, REPORTERS_MAX, TOMBSTONE_KEPT,
        TOMBSTONES_MAX, VALUE_BYTES_MAX,
    },
    pack::{Batch, Frame, item_bytes},
    slot::{Origin, Rolling, SlotKey, Value},
    wire::{Blob, Digest, Header, Item, Meta, Range, Said, Stand},
};
use lanes::Lanes;

/// Why a slot is not published. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The reporter's fault.
    #[error("a reporter's name has 1 to {REPORTER_BYTES_MAX} bytes, not {0}")]
    ReporterName(usize),
    /// The reporter's fault.
    #[error("a value of {0} bytes; a slot holds {VALUE_BYTES_MAX}")]
    TooLarge(usize),
    /// A mistake in the node's configuration: its services are fewer.
    #[error("this node has {REPORTERS_MAX} reporters, the most there can be")]
    Reporters,
    /// Nobody's fault: slots have to be withdrawn first.
    #[error("this node's slots have {slots} entries and {bytes} bytes, and there is no room for more")]
    Full {
        /// Slots now.
        slots: usize,
        /// Bytes of their values now.
        bytes: usize,
    },
}

/// A slot as it was sent; without a value it is a tombstone.
#[derive(Debug)]
struct Sent {
    sequence: u64,
    value: Option<Value>,
    said: BootInstant,
}

/// A slot as it will be sent.
#[derive(Debug)]
struct Queued {
    ticket: u64,
    value: Option<Value>,
    said: BootInstant,
}

#[derive(Debug, Default)]
struct Own {
    sent: Option<Sent>,
    queued: Option<Queued>,
}

impl Own {
    /// What it says by now.
    fn value(&self) -> Option<&Value> {
        self.queued.as_ref().map_or_else(|| self.sent.as_ref()?.value.as_ref(), |queued| queued.value.as_ref())
    }
}

/// The slots of this node.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) origin: Origin,
    config: Config,
    newest: u64,
    horizon: u64,
    slots: BTreeMap<SlotKey, Own>,
    order: BTreeMap<u64, SlotKey>,
    tombstones: BTreeMap<u64, BootInstant>,
    rolling: Rolling,
    meta: Meta,
    /// Slots that have a value by now, and the bytes of these.
    count: usize,
    bytes: usize,
    lanes: Lanes,
    /// When each stood by all of its states.
    reporters: BTreeMap<Arc<str>, BootInstant>,
    flush_at: Option<BootInstant>,
    flushed: Option<BootInstant>,
}

impl Publisher {
    pub(crate) fn new(origin: Origin, config: Config) -> Self {
        Self {
            origin,
            config,
            newest: 0,
            horizon: 0,
            slots: BTreeMap::new(),
            order: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            rolling: Rolling::default(),
            meta: Meta::default(),
            count: 0,
            bytes: 0,
            lanes: Lanes::default(),
            reporters: BTreeMap::new(),
            flush_at: None,
            flushed: None,
        }
    }

    pub(crate) const fn newest(&self) -> u64 {
        self.newest
    }

    pub(crate) const fn flush_at(&self) -> Option<BootInstant> {
        self.flush_at
    }

    /// Says the value of a slot; false if it is state that has been said already.
    pub(crate) fn put(&mut self, now: BootInstant, key: &SlotKey, bytes: Arc<[u8]>) -> Result<bool, PublishError> {
        self.check(key, bytes.len())?;
        // Who says one thing says nothing of the others: that is what `confirm` is for.
        self.reporters.entry(Arc::clone(&key.reporter)).or_insert(now);
        let value = Value::new(bytes);
        let own = self.slots.entry(key.clone()).or_default();
        if key.facet == Facet::Meta && own.value() == Some(&value) {
            return Ok(false);
        }
        self.queue(now, key, Some(value));
        Ok(true)
    }

    /// Takes a slot back; false if there is none.
    pub(crate) fn withdraw(&mut self, now: BootInstant, key: &SlotKey) -> bool {
        let Some(own) = self.slots.get(key).filter(|own| own.value().is_some()) else { return false };
        if own.sent.as_ref().is_none_or(|sent| sent.value.is_none()) {
            self.unqueue(key);
            return true;
        }
        self.queue(now, key, None);
        true
    }

    /// The reporter stands by every state it has said.
    pub(crate) fn confirm(&mut self, now: BootInstant, reporter: &str) {
        if let Some(at) = self.reporters.get_mut(reporter) {
            *at = now;
        }
    }

    fn check(&self, key: &SlotKey, length: usize) -> Result<(), PublishError> {
        let name = key.reporter.len();
        if name == 0 || name > REPORTER_BYTES_MAX {
            return Err(PublishError::ReporterName(name));
        }
        if length > VALUE_BYTES_MAX {
            return Err(PublishError::TooLarge(length));
        }
        if !self.reporters.contains_key(&key.reporter) && self.reporters.len() >= REPORTERS_MAX {
            return Err(PublishError::Reporters);
        }
        let old = self.slots.get(key).and_then(Own::value).map(Value::size);
        let slots = self.count + usize::from(old.is_none());
        if slots > self.config.own_slots_max || self.bytes + length - old.unwrap_or(0) > self.config.own_bytes_max {
            return Err(PublishError::Full { slots: self.count, bytes: self.bytes });
        }
        Ok(())
    }

    /// The slot keeps its place in the lane if it has one.
    fn queue(&mut self, now: BootInstant, key: &SlotKey, value: Option<Value>) {
        let own = self.slots.entry(key.clone()).or_default();
        let old = own.value().map(Value::size);
        let new = value.as_ref().map(Value::size);
        let ticket = match own.queued.as_ref() {
            Some(queued) => queued.ticket,
            None => self.lanes.push(now, key, &self.config),
        };
        own.queued = Some(Queued { ticket, value, said: now });
        self.count = self.count + usize::from(new.is_some()) - usize::from(old.is_some());
        self.bytes = self.bytes + new.unwrap_or(0) - old.unwrap_or(0);
        // The first change after a rest leaves at once, with what its driver has given beside it; those that follow wait for each
        // other. A lane that waits for its budget may have set a later time.
        let soon = self.flushed.map_or(now, |flushed| now.max(flushed + FLUSH_DELAY));
        self.flush_at = Some(self.flush_at.map_or(soon, |at| at.min(soon)));
    }

    /// A slot that nobody has heard of, or whose end was said already, leaves its lane without a word.
    fn unqueue(&mut self, key: &SlotKey) {
        let Some(own) = self.slots.get_mut(key) else { return };
        let Some(queued) = own.queued.take() else { return };
        self.lanes.remove(key, queued.ticket);
        if let Some(value) = queued.value {
            self.count -= 1;
            self.bytes -= value.size();
        }
        if own.sent.is_none() {
            self.slots.remove(key);
        }
    }

    /// Sends what waits, as the budgets allow.
    pub(crate) fn flush(&mut self, now: BootInstant, header: Header) -> Vec<Arc<[u8]>> {
        self.drop_tombstones(now);
        self.flushed = Some(now);
        let (mut made, mut batch, mut first) = (Vec::new(), Batch::default(), self.newest + 1);
        while let Some(key) = self.lanes.next(now) {
            let Some(item) = self.item(now, &key, self.newest + 1) else { break };
            if !batch.has_room(&item) {
                made.push(self.frame(header).delta(Range(first, self.newest), batch.take()));
                first = self.newest + 1;
                if made.len() >= DATAGRAMS_PER_WAKE {
                    break;
                }
            }
            self.number(now, &key, item_bytes(&item));
            batch.push(item);
        }
        if !batch.is_empty() {
            made.push(self.frame(header).delta(Range(first, self.newest), batch.take()));
        }
        self.flush_at = self.lanes.ready_at().map(|at| at.max(now + PACE));
        made
    }

    /// What other domains are told of these sequences: state alone.
    pub(crate) fn abroad(&self, now: BootInstant, header: Header, range: Range) -> (Frame, impl Iterator<Item = Item>) {
        let newest = self.meta.newest.max(range.1);
        let frame = Frame { header, origin: self.origin, relayed: true, newest, horizon: self.horizon.min(newest) };
        (frame, self.items(now, range).filter(|item| item.key.facet == Facet::Meta))
    }

    pub(crate) const fn meta(&self) -> Meta {
        self.meta
    }

    pub(crate) const fn frame(&self, header: Header) -> Frame {
        Frame { header, origin: self.origin, relayed: false, newest: self.newest, horizon: self.horizon }
    }

    /// What a queued slot will say.
    fn item(&self, now: BootInstant, key: &SlotKey, sequence: u64) -> Option<Item> {
        let queued = self.slots.get(key)?.queued.as_ref()?;
        Some(item(now, key, sequence, queued.value.as_ref(), queued.said))
    }

    /// The slot has the next sequence from now on.
    fn number(&mut self, now: BootInstant, key: &SlotKey, bytes: usize) {
        let Some(own) = self.slots.get_mut(key) else { return };
        let Some(queued) = own.queued.take() else { return };
        self.lanes.sent(key, queued.ticket, bytes);
        self.newest += 1;
        let new = Sent { sequence: self.newest, value: queued.value, said: queued.said };
        self.order.insert(new.sequence, key.clone());
        let is_value = new.value.is_some();
        if !is_value {
            self.tombstones.insert(new.sequence, now);
        }
        let old = own.sent.replace(new);
        if let Some(old) = &old {
            self.order.remove(&old.sequence);
            self.tombstones.remove(&old.sequence);
        }
        let was = old.filter(|old| old.value.is_some()).map(|old| old.sequence);
        self.count(key, is_value.then_some(self.newest), was);
    }

    /// Keeps the hashes: the slot has a value under one sequence, and had one under another.
    fn count(&mut self, key: &SlotKey, is: Option<u64>, was: Option<u64>) {
        let is_state = key.facet == Facet::Meta;
        if is_state {
            self.meta.newest = self.newest;
        }
        for rolling in [Some(&mut self.rolling), is_state.then_some(&mut self.meta.slots)].into_iter().flatten() {
            if let Some(was) = was {
                rolling.remove(key, was);
            }
            if let Some(is) = is {
                rolling.add(key, is);
            }
        }
    }

    fn drop_tombstones(&mut self, now: BootInstant) {
        while let Some((sequence, at)) = self.tombstones.first_key_value().map(|(sequence, at)| (*sequence, *at)) {
            if self.tombstones.len() <= TOMBSTONES_MAX && now.since(at) < TOMBSTONE_KEPT {
                break;
            }
            self.tombstones.remove(&sequence);
            self.horizon = self.horizon.max(sequence);
            let Some(key) = self.order.remove(&sequence) else { continue };
            if let Some(own) = self.slots.get_mut(&key) {
                own.sent = None;
                if own.queued.is_none() {
                    self.slots.remove(&key);
                }
            }
        }
    }

    /// What stands under these sequences.
    pub(crate) fn items(&self, now: BootInstant, range: Range) -> impl Iterator<Item = Item> {
        let within = self.order.range(range.0..=range.1);
        within.filter_map(move |(sequence, key)| {
            let sent = self.slots.get(key)?.sent.as_ref()?;
            Some(item(now, key, *sequence, sent.value.as_ref(), sent.said))
        })
    }

    /// The value of a slot as it was sent, or as it will be.
    pub(crate) fn value(&self, key: &SlotKey) -> Option<&Value> {
        let own = self.slots.get(key)?;
        own.sent.as_ref().and_then(|sent| sent.value.as_ref()).or_else(|| own.value())
    }

    /// The slots with what they say by now.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (&SlotKey, &Arc<[u8]>)> {
        self.slots.iter().filter_map(|(key, own)| Some((key, own.value()?.bytes()?)))
    }

    pub(crate) fn digest(&mut self, now: BootInstant) -> Digest {
        self.drop_tombstones(now);
        let stand = |(name, at): (&Arc<str>, &BootInstant)| Stand {
            reporter: Arc::clone(name),
            age_ms: millis(now.since(*at)),
        };
        Digest {
            origin: self.origin,
            newest: self.newest,
            horizon: self.horizon,
            slots: self.rolling,
            reporters: self.reporters.iter().map(stand).collect(),
            meta: Some(self.meta),
        }
    }

    /// Another life: what is known elsewhere of an earlier one is higher than this node thought. Slots are numbered anew.
    pub(crate) fn begin_again(&mut self, incarnation: u64) {
        self.origin.incarnation = incarnation;
        (self.newest, self.horizon, self.rolling, self.meta) = (0, 0, Rolling::default(), Meta::default());
        self.tombstones.clear();
        for key in std::mem::take(&mut self.order).into_values() {
            let Some(own) = self.slots.get_mut(&key) else { continue };
            match own.sent.as_mut() {
                Some(sent) if sent.value.is_some() => {
                    self.newest += 1;
                    sent.sequence = self.newest;
                    self.count(&key, Some(self.newest), None);
                    self.order.insert(self.newest, key);
                }
                Some(_) | None => own.sent = None,
            }
        }
        self.slots.retain(|_, own| own.sent.is_some() || own.queued.is_some());
    }
}

pub(crate) fn item(now: BootInstant, key: &SlotKey, sequence: u64, value: Option<&Value>, said: BootInstant) -> Item {
    Item { sequence, age_ms: millis(now.since(said)), key: key.clone(), said: as_said(value) }
}

pub(crate) fn as_said(value: Option<&Value>) -> Said {
    match value {
        Some(Value::Inline(bytes)) => Said::Value(Blob(Arc::clone(bytes))),
        Some(Value::Large { hash, length, .. }) => Said::Large(*hash, *length),
        None => Said::Gone,
    }
}

pub(crate) fn millis(age: std::time::Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
