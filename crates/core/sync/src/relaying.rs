//! What a relay has heard from other domains and hands on to its own.
//!
//! Each relay of a domain hears the same. The first one hands on at once; those after it wait, and hand on what none before
//! them did. So the loss of one costs nothing but that wait, and nobody has to decide who it is.
//!
//! **Invariant**: of an origin at most one note waits, and what is handed on was not heard on this domain's group meanwhile.

use std::{collections::BTreeMap, time::Duration};

use acp_base::{BootInstant, Uid};

use crate::{
    limits::{HAND_ON_DELAY, SPOKEN_FOR, STAND_BY_DELAY},
    ranges::{Range, Ranges},
    slot::{Origin, Rolling},
    wire::Digest,
};

/// What waits of one origin.
#[derive(Debug)]
pub(crate) struct Note {
    at: BootInstant,
    pub(crate) ranges: Ranges,
    pub(crate) digest: Option<(BootInstant, Digest)>,
}

/// Where an origin stands, as another relay has handed it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stand(Origin, u64, Rolling);

impl Stand {
    const fn of(digest: &Digest) -> Self {
        Self(digest.origin, digest.newest, digest.slots)
    }
}

/// What a relay hands on.
#[derive(Debug, Default)]
pub(crate) struct Relaying {
    rank: Option<u8>,
    notes: BTreeMap<Uid, Note>,
    spoken: BTreeMap<Uid, (BootInstant, Stand)>,
    wake_at: Option<BootInstant>,
}

impl Relaying {
    /// Whether this node is a relay, and after how many others.
    pub(crate) fn set_rank(&mut self, rank: Option<u8>) {
        if std::mem::replace(&mut self.rank, rank) != rank && rank.is_none() {
            *self = Self::default();
        }
    }

    pub(crate) const fn is_relay(&self) -> bool {
        self.rank.is_some()
    }

    pub(crate) const fn wake_at(&self) -> Option<BootInstant> {
        self.wake_at
    }

    pub(crate) fn forget(&mut self, node: Uid) {
        self.notes.remove(&node);
        self.spoken.remove(&node);
    }

    /// These sequences of an origin are to be handed on.
    pub(crate) fn hand_on(&mut self, now: BootInstant, node: Uid, ranges: impl Iterator<Item = Range>) {
        let Some(note) = self.note(now, node) else { return };
        for range in ranges {
            // What does not fit is seen by its digest, and asked for.
            if !note.ranges.insert(range) {
                return;
            }
        }
    }

    /// So is where an origin stands.
    pub(crate) fn hand_on_digest(&mut self, now: BootInstant, digest: &Digest) {
        let stand = Stand::of(digest);
        let is_spoken = |(at, spoken): &(BootInstant, Stand)| *spoken == stand && now.since(*at) < SPOKEN_FOR;
        if self.spoken.get(&digest.origin.node).is_some_and(is_spoken) {
            return;
        }
        if let Some(note) = self.note(now, digest.origin.node) {
            note.digest = Some((now, digest.clone()));
        }
    }

    fn note(&mut self, now: BootInstant, node: Uid) -> Option<&mut Note> {
        let at = now + wait(self.rank?);
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        Some(self.notes.entry(node).or_insert_with(|| Note { at, ranges: Ranges::default(), digest: None }))
    }

    /// Another relay has handed these sequences on.
    pub(crate) fn heard(&mut self, node: Uid, range: Range) {
        if let Some(note) = self.notes.get_mut(&node) {
            // What would be split too often is handed on twice.
            note.ranges.remove(range);
        }
    }

    /// Another relay has said where an origin stands.
    pub(crate) fn heard_digest(&mut self, now: BootInstant, digest: &Digest) {
        if self.rank.is_none() {
            return;
        }
        let stand = Stand::of(digest);
        self.spoken.insert(digest.origin.node, (now, stand));
        if let Some(note) = self.notes.get_mut(&digest.origin.node)
            && note.digest.as_ref().is_some_and(|(_, waits)| Stand::of(waits) == stand)
        {
            note.digest = None;
        }
    }

    /// What is due.
    pub(crate) fn wake(&mut self, now: BootInstant) -> Vec<(Uid, Note)> {
        let due: Vec<Uid> = self.notes.iter().filter(|(_, note)| note.at <= now).map(|(node, _)| *node).collect();
        let due = due.into_iter().filter_map(|node| Some((node, self.notes.remove(&node)?))).collect();
        self.wake_at = self.notes.values().map(|note| note.at).min();
        due
    }
}

fn wait(rank: u8) -> Duration {
    HAND_ON_DELAY + STAND_BY_DELAY * u32::from(rank)
}
