//! A node: its replication, its own clock, and what it was told.

use std::{collections::BTreeMap, time::Duration};

use acp_base::{BootInstant, EpochId, Uid};
use acp_core_sync::{Config, Origin, Slot, SlotKey, Sync};

use crate::told;

/// What a node was last told of a slot.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Of which life.
    pub incarnation: u64,
    /// Which number.
    pub number: u64,
}

/// What a node has sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Bytes of its messages; a copy by multicast counts once.
    pub bytes: u64,
    /// The messages.
    pub datagrams: u64,
    /// The longest of them.
    pub longest: usize,
}

/// A node.
#[derive(Debug)]
pub struct Node {
    /// Who it is.
    pub uid: Uid,
    /// Which life.
    pub incarnation: u64,
    /// Its replication; none: it is down.
    pub sync: Option<Sync>,
    /// How far its clock is ahead of the world's.
    offset_us: u64,
    pub(crate) deadline_us: Option<u64>,
    /// When it went down last.
    pub(crate) down_us: u64,
    /// What it has sent.
    pub sent: Sent,
    /// How often it was told that a slot is gone.
    pub gone: u64,
    /// How often it was told of a slot by another node than the slot's own.
    pub relayed: u64,
    told: BTreeMap<(Uid, SlotKey), Told>,
    incarnations: BTreeMap<Uid, u64>,
}

/// The epoch of all worlds.
pub const EPOCH: EpochId = EpochId { number: 1, id: Uid::from_u128(77) };

impl Node {
    pub(crate) fn new(index: usize, offset_us: u64) -> Self {
        Self {
            uid: Uid::from_u128(1_000 + index as u128),
            incarnation: 10_000_000,
            sync: None,
            offset_us,
            deadline_us: None,
            down_us: 0,
            sent: Sent::default(),
            gone: 0,
            relayed: 0,
            told: BTreeMap::new(),
            incarnations: BTreeMap::new(),
        }
    }

    /// What its clock shows.
    pub fn clock(&self, now_us: u64) -> BootInstant {
        BootInstant::from_nanos((now_us + self.offset_us) * 1_000)
    }

    /// When, in the world's time, its replication wants to be woken.
    pub(crate) fn next_deadline_us(&self) -> Option<u64> {
        let nanos = self.sync.as_ref()?.next_deadline().as_nanos();
        Some((nanos.div_ceil(1_000)).saturating_sub(self.offset_us))
    }

    pub(crate) fn start(&mut self, now_us: u64, seed: u64, config: Config) {
        let origin = Origin { node: self.uid, incarnation: self.incarnation };
        self.sync = Some(Sync::new(self.clock(now_us), origin, EPOCH, seed, config));
    }

    pub(crate) fn crash(&mut self, now_us: u64) {
        self.sync = None;
        self.down_us = now_us;
        self.told.clear();
        self.incarnations.clear();
    }

    /// Takes what it is told of a slot, and says which invariant that breaks. `said_us` is when each number was said.
    pub(crate) fn hear(
        &mut self,
        now_us: u64,
        origin: Origin,
        key: SlotKey,
        slot: Option<&Slot>,
        said_us: &[u64],
    ) -> Result<(), (&'static str, String)> {
        let newest = self.incarnations.entry(origin.node).or_default();
        told::incarnation(*newest, origin.incarnation).map_err(|what| ("incarnation", what))?;
        *newest = origin.incarnation;
        let before = self.told.get(&(origin.node, key.clone())).copied();
        let Some(slot) = slot else {
            self.gone += 1;
            return Ok(());
        };
        let number = number(&slot.value);
        told::not_deleted(before, origin.incarnation, number).map_err(|what| ("deleted", what))?;
        self.told.insert((origin.node, key), Told { incarnation: origin.incarnation, number });
        self.relayed += u64::from(slot.relayed);
        let said_us = said_us[usize::try_from(number).expect("small")];
        told::age(Duration::from_micros(now_us - said_us), slot.age).map_err(|what| ("age", what))
    }
}

/// What a value says: a number that is larger the later it was said.
pub fn number(value: &[u8]) -> u64 {
    u64::from_be_bytes(value[..8].try_into().expect("values begin with a number"))
}
