//! Large values on their way here: announced by hash, fetched part by part from a node that has them.
//!
//! **Invariant**: at most [`FETCHES_MAX`] are assembled at a time, and what is shown has the hash that was announced.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use acp_base::{BootInstant, Uid};

use crate::{
    limits::{FETCH_PARTS_MAX, FETCH_RETRY, FETCH_TRIES_MAX, FETCHES_MAX, NACK_RETRY_MAX, PART_BYTES},
    random::Random,
    slot::{Hash, Origin, SlotKey},
    wire::{Fetch, Part},
};

/// A value that is being assembled.
#[derive(Debug)]
struct Running {
    origin: Origin,
    key: SlotKey,
    buffer: Vec<u8>,
    /// A bit for each part that is here.
    have: u64,
    /// A bit for each part that was asked for last.
    asked: u64,
    tries: u32,
    at: BootInstant,
}

/// Who is asked for which parts, for the n-th time.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) fetch: Fetch,
    pub(crate) tries: u32,
}

/// What a part came to.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Nothing yet.
    Nothing,
    /// It is not of the value that was announced.
    Bad,
    /// The value of this slot.
    Whole { node: Uid, key: SlotKey, bytes: Arc<[u8]> },
}

/// Large values on their way here.
#[derive(Debug)]
pub(crate) struct Fetches {
    running: BTreeMap<Hash, Running>,
    waiting: BTreeSet<(Uid, SlotKey)>,
    /// The slot that left the waiting ones last.
    turn: Option<(Uid, SlotKey)>,
    wake_at: Option<BootInstant>,
}

impl Fetches {
    pub(crate) const fn new() -> Self {
        Self { running: BTreeMap::new(), waiting: BTreeSet::new(), turn: None, wake_at: None }
    }

    /// A slot whose value is to be fetched. There are at most as many as there are slots.
    pub(crate) fn want(&mut self, now: BootInstant, node: Uid, key: SlotKey) {
        self.waiting.insert((node, key));
        self.wake_at.get_or_insert(now);
    }

    pub(crate) fn forget(&mut self, node: Uid) {
        self.waiting.retain(|(origin, _)| *origin != node);
        self.running.retain(|_, running| running.origin.node != node);
    }

    pub(crate) fn next_deadline(&self) -> Option<BootInstant> {
        self.running.values().map(|running| running.at).chain(self.wake_at).min()
    }

    /// What is to be asked for now. `lookup` says what a slot still lacks.
    pub(crate) fn wake(
        &mut self,
        now: BootInstant,
        random: &mut Random,
        lookup: impl Fn(Uid, &SlotKey) -> Option<(Origin, Hash, u32)>,
    ) -> Vec<Ask> {
        self.wake_at = None;
        self.running.retain(|hash, running| {
            lookup(running.origin.node, &running.key)
                .is_some_and(|(origin, wanted, _)| origin == running.origin && wanted == *hash)
        });
        self.give_way();
        while self.running.len() < FETCHES_MAX
            && let Some((node, key)) = self.next()
        {
            let Some((origin, hash, length)) = lookup(node, &key) else { continue };
            if self.running.contains_key(&hash) {
                // The same value of another slot: it comes after that one.
                self.waiting.insert((node, key));
                break;
            }
            let buffer = vec![0; length as usize];
            self.running.insert(hash, Running { origin, key, buffer, have: 0, asked: 0, tries: 0, at: now });
        }
        self.due(now, random)
    }

    /// The slot whose turn it is, out of those that wait.
    fn next(&mut self) -> Option<(Uid, SlotKey)> {
        let after = self.turn.as_ref().and_then(|turn| self.waiting.range((Excluded(turn), Unbounded)).next());
        let next = after.or_else(|| self.waiting.first()).cloned()?;
        self.waiting.remove(&next);
        self.turn = Some(next.clone());
        Some(next)
    }

    /// What nobody seems to have waits again, so that it does not keep others from coming.
    fn give_way(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (stuck, others) = std::mem::take(&mut self.running)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(_, running)| running.tries >= FETCH_TRIES_MAX);
        self.running = others;
        self.waiting.extend(stuck.into_values().map(|running| (running.origin.node, running.key)));
    }

    fn due(&mut self, now: BootInstant, random: &mut Random) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (hash, running) in self.running.iter_mut().filter(|(_, running)| running.at <= now) {
            let wait = FETCH_RETRY.saturating_mul(1 << running.tries.min(10)).min(NACK_RETRY_MAX);
            running.at = now + random.about(wait);
            let parts = lowest(all_parts(running.buffer.len()) & !running.have);
            running.asked = parts;
            let (origin, key) = (running.origin, running.key.clone());
            asks.push(Ask { fetch: Fetch { origin, key, hash: *hash, parts }, tries: running.tries });
            running.tries += 1;
        }
        asks
    }

    /// Takes a part.
    pub(crate) fn take(&mut self, now: BootInstant, part: &Part) -> Taken {
        let Some(running) = self.running.get_mut(&part.hash) else { return Taken::Nothing };
        let start = usize::from(part.index) * PART_BYTES;
        let end = (start + PART_BYTES).min(running.buffer.len());
        if start >= end || end - start != part.bytes.0.len() {
            return Taken::Bad;
        }
        running.buffer[start..end].copy_from_slice(&part.bytes.0);
        running.have |= 1 << part.index;
        if running.have != all_parts(running.buffer.len()) {
            if running.asked & !running.have == 0 {
                (running.tries, running.at) = (0, now);
            }
            return Taken::Nothing;
        }
        if Hash::of(&running.buffer) != part.hash {
            running.have = 0;
            return Taken::Bad;
        }
        let Some(running) = self.running.remove(&part.hash) else { return Taken::Nothing };
        if !self.waiting.is_empty() {
            self.wake_at.get_or_insert(now);
        }
        Taken::Whole { node: running.origin.node, key: running.key, bytes: running.buffer.into() }
    }
}

/// The lowest of these bits, as many as are answered at once.
pub(crate) fn lowest(mut bits: u64) -> u64 {
    let all = bits;
    for _ in 0..FETCH_PARTS_MAX {
        bits &= bits.wrapping_sub(1);
    }
    all & !bits
}

/// A bit for each part of a value.
fn all_parts(length: usize) -> u64 {
    let parts = length.div_ceil(PART_BYTES);
    if parts >= 64 { u64::MAX } else { (1 << parts) - 1 }
}
