//! Changes that wait to be sent, in a lane for each reporter and facet.
//!
//! **Invariant**: a lane sends no more than its budget, and a lane that is over its budget holds up no other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::BootInstant;
use acp_wire_model::object::Facet;

use crate::{
    limits::{Budget, Config, MTU_BYTES},
    slot::SlotKey,
};

/// Reporter and facet.
type Name = (Arc<str>, Facet);

#[derive(Debug)]
struct Lane {
    /// Slots in the order in which they were first changed since they were sent.
    queue: BTreeMap<u64, SlotKey>,
    bucket: Bucket,
}

/// All lanes, which take turns.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: BTreeMap<Name, Lane>,
    tickets: u64,
    last: Option<Name>,
}

impl Lanes {
    /// Puts a slot at the end of its lane; the answer names its place.
    pub(crate) fn push(&mut self, now: BootInstant, key: &SlotKey, config: &Config) -> u64 {
        self.tickets += 1;
        let budget = match key.facet {
            Facet::Meta => config.meta,
            Facet::Stats => config.stats,
        };
        let lane = self.lanes.entry((Arc::clone(&key.reporter), key.facet));
        let lane = lane.or_insert_with(|| Lane { queue: BTreeMap::new(), bucket: Bucket::new(now, budget) });
        lane.queue.insert(self.tickets, key.clone());
        self.tickets
    }

    /// Takes a slot out of its place.
    pub(crate) fn remove(&mut self, key: &SlotKey, ticket: u64) {
        if let Some(lane) = self.lanes.get_mut(&(Arc::clone(&key.reporter), key.facet)) {
            lane.queue.remove(&ticket);
        }
    }

    /// The slot whose turn it is.
    pub(crate) fn next(&mut self, now: BootInstant) -> Option<SlotKey> {
        let after = self.lanes.iter_mut().filter(|(name, _)| self.last.as_ref().is_none_or(|last| *name > last));
        let found = after.filter_map(|lane| ready(lane, now)).next();
        let found = found.or_else(|| self.lanes.iter_mut().filter_map(|lane| ready(lane, now)).next());
        let (name, key) = found?;
        self.last = Some(name);
        Some(key)
    }

    /// Takes the slot out as sent, with so many bytes.
    pub(crate) fn sent(&mut self, key: &SlotKey, ticket: u64, bytes: usize) {
        if let Some(lane) = self.lanes.get_mut(&(Arc::clone(&key.reporter), key.facet)) {
            lane.queue.remove(&ticket);
            lane.bucket.take(bytes);
        }
    }

    /// When a lane may send what it has.
    pub(crate) fn ready_at(&self) -> Option<BootInstant> {
        self.lanes.values().filter(|lane| !lane.queue.is_empty()).map(|lane| lane.bucket.ready_at()).min()
    }
}

fn ready((name, lane): (&Name, &mut Lane), now: BootInstant) -> Option<(Name, SlotKey)> {
    let (_, key) = lane.queue.first_key_value()?;
    lane.bucket.is_ready(now).then(|| (name.clone(), key.clone()))
}

/// A token bucket in bytes that may be overdrawn by one item. Once empty it is closed until it could fill a datagram, or else
/// each item would travel alone.
#[derive(Debug)]
struct Bucket {
    budget: Budget,
    tokens: i64,
    at: BootInstant,
    is_open: bool,
}

impl Bucket {
    fn new(now: BootInstant, budget: Budget) -> Self {
        Self { budget, tokens: signed(budget.burst_bytes), at: now, is_open: true }
    }

    /// When a closed one opens.
    fn threshold(&self) -> i64 {
        signed(self.budget.burst_bytes).clamp(1, signed(MTU_BYTES as u64))
    }

    fn is_ready(&mut self, now: BootInstant) -> bool {
        if now >= self.ready_at() {
            let gained = now.since(self.at).as_nanos() * u128::from(self.budget.bytes_per_second) / 1_000_000_000;
            let gained = i64::try_from(gained).unwrap_or(i64::MAX);
            self.tokens = self.tokens.saturating_add(gained).min(signed(self.budget.burst_bytes));
            self.at = now;
        }
        self.is_open |= self.tokens >= self.threshold();
        self.is_open
    }

    fn take(&mut self, bytes: usize) {
        self.tokens = self.tokens.saturating_sub(signed(bytes as u64));
        self.is_open &= self.tokens > 0;
    }

    fn ready_at(&self) -> BootInstant {
        let lacking = if self.is_open { 0 } else { u64::try_from(self.threshold() - self.tokens).unwrap_or(0) };
        let nanos = u128::from(lacking) * 1_000_000_000 / u128::from(self.budget.bytes_per_second.max(1)) + 1;
        self.at
            + if lacking == 0 { Duration::ZERO } else { Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)) }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
