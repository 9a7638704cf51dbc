//! What other nodes say, on its way from the replication to the database.
//!
//! A slot can come before the log's entry that declares its object, or before this node knows its sender as a member. Such slots
//! are offered again.

use std::{collections::BTreeSet, time::Duration};

use acp_base::{BootInstant, Uid};
use acp_core_cdb::Heard;
use acp_core_sync::{Slot, SlotKey, Sync};

use super::{roster::Roster, value};
use crate::{
    peers::Peer,
    service::{Handle, Stood},
};

/// Slots that wait for their object. When there are more, all are offered again.
const UNKNOWN_MAX: usize = 4_096;

/// Slots given to the database at once.
const BATCH_MAX: usize = 256;

/// How soon what was unknown is offered again, doubled each time up to the longest pause.
const AGAIN_MIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(2);

/// What waits to be given to the database.
#[derive(Debug)]
pub(super) struct Hearing {
    heard: Vec<Heard>,
    /// Of which slots, in the same order.
    keys: Vec<(Uid, SlotKey)>,
    stood: Vec<Stood>,
    unknown: BTreeSet<(Uid, SlotKey)>,
    /// There were more.
    is_more: bool,
    again_at: Option<BootInstant>,
    pause: Duration,
}

impl Hearing {
    pub(super) const fn new() -> Self {
        Self {
            heard: Vec::new(),
            keys: Vec::new(),
            stood: Vec::new(),
            unknown: BTreeSet::new(),
            is_more: false,
            again_at: None,
            pause: AGAIN_MIN,
        }
    }

    /// A slot has changed.
    pub(super) fn changed(
        &mut self,
        now: BootInstant,
        roster: &Roster,
        (node, key): (Uid, SlotKey),
        slot: Option<&Slot>,
    ) {
        let Some(name) = roster.name(node) else {
            if slot.is_some() {
                self.wait(now, (node, key));
            }
            return;
        };
        match value::heard(now, (node, name), &key, slot) {
            Some(heard) => {
                self.heard.push(heard);
                self.keys.push((node, key));
            }
            None => tracing::debug!(%node, object = %key.uid, "what another node says cannot be read"),
        }
    }

    /// A reporter stood by its states.
    pub(super) fn stood(&mut self, roster: &Roster, node: Uid, noun: &str, at: BootInstant) {
        if let Some(name) = roster.name(node) {
            self.stood.push(Stood { origin: node, reporter: value::reporter(noun, name), at });
        }
    }

    /// A node is gone, or has another name: what it said under this one is said no more.
    pub(super) fn left(&mut self, now: BootInstant, sync: &Sync, peer: &Peer) {
        for (key, _slot) in sync.slots(now, peer.uid) {
            self.heard.extend(value::heard(now, (peer.uid, &peer.name), key, None));
            self.keys.push((peer.uid, key.clone()));
        }
    }

    /// Everything is offered again, of one node or of all.
    pub(super) fn offer(&mut self, now: BootInstant, sync: &Sync, roster: &Roster, of: Option<Uid>) {
        for node in roster.peers.keys().filter(|node| of.is_none_or(|of| of == **node)) {
            for (key, slot) in sync.slots(now, *node) {
                self.changed(now, roster, (*node, key.clone()), Some(&slot));
            }
        }
    }

    /// When [`Self::again`] has something to do.
    pub(super) const fn next_deadline(&self) -> Option<BootInstant> {
        self.again_at
    }

    /// Offers again what was unknown.
    pub(super) fn again(&mut self, now: BootInstant, sync: &Sync, roster: &Roster) {
        if self.again_at.is_none_or(|at| now < at) {
            return;
        }
        self.again_at = None;
        self.pause = (self.pause * 2).min(AGAIN_MAX);
        let unknown = std::mem::take(&mut self.unknown);
        if std::mem::take(&mut self.is_more) {
            return self.offer(now, sync, roster, None);
        }
        for (node, key) in unknown {
            // What was taken back meanwhile is not waited for.
            if let Some(slot) = sync.get(now, node, &key) {
                self.changed(now, roster, (node, key), Some(&slot));
            }
        }
    }

    /// Gives it to the database.
    pub(super) async fn tell(&mut self, now: BootInstant, database: &Handle) {
        while !self.heard.is_empty() || !self.stood.is_empty() {
            let rest = self.heard.split_off(self.heard.len().min(BATCH_MAX));
            let rest_keys = self.keys.split_off(self.keys.len().min(BATCH_MAX));
            let (heard, keys) =
                (std::mem::replace(&mut self.heard, rest), std::mem::replace(&mut self.keys, rest_keys));
            // A database that has ended ends this task soon, too.
            let Ok(unknown) = database.hear(heard, std::mem::take(&mut self.stood)).await else { return };
            for place in unknown {
                if let Some(key) = keys.get(place) {
                    self.wait(now, key.clone());
                }
            }
        }
        if self.unknown.is_empty() {
            self.pause = AGAIN_MIN;
        }
    }

    fn wait(&mut self, now: BootInstant, slot: (Uid, SlotKey)) {
        if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.insert(slot);
        } else {
            self.is_more = true;
        }
        let at = now + self.pause;
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}
