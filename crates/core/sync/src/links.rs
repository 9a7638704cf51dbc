//! What relays of other domains have been told of this one.
//!
//! Nothing waits here: a link remembers which sequences went over it, and what it is told next is made when it has room for it.
//! So however slow it is, it gets what is newest, and costs no memory.
//!
//! **Invariant**: a sequence goes over a link once, unless it came to stand for something else.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
};

use acp_base::Uid;

use crate::{
    limits::LINKS_MAX,
    ranges::{Range, Ranges},
    slot::Origin,
    wire::Known,
};

/// A link, by the number that its driver gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// What went over a link of one origin.
#[derive(Debug)]
pub(crate) struct Told {
    origin: Origin,
    pub(crate) ranges: Ranges,
    /// The origin has said where it stands, and the link does not know.
    pub(crate) owes_digest: bool,
}

#[derive(Debug, Default)]
struct Link {
    told: BTreeMap<Uid, Told>,
    /// Origins of which there may be something to tell.
    due: BTreeSet<Uid>,
    turn: Option<Uid>,
}

/// All links.
#[derive(Debug, Default)]
pub(crate) struct Links(BTreeMap<LinkId, Link>);

impl Links {
    /// A link to somebody who knows this much; all of `origins` are to be told. False if there are too many.
    pub(crate) fn open(&mut self, id: LinkId, known: &[Known], origins: impl Iterator<Item = Uid>) -> bool {
        if self.0.len() >= LINKS_MAX {
            return false;
        }
        let told = |known: &Known| {
            let ranges = Ranges::up_to(known.contiguous);
            (known.origin.node, Told { origin: known.origin, ranges, owes_digest: true })
        };
        let link = Link { told: known.iter().map(told).collect(), due: origins.collect(), turn: None };
        self.0.insert(id, link);
        true
    }

    pub(crate) fn close(&mut self, id: LinkId) {
        self.0.remove(&id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origin has said something.
    pub(crate) fn touch(&mut self, node: Uid) {
        for link in self.0.values_mut() {
            link.due.insert(node);
        }
    }

    /// The origin has said where it stands.
    pub(crate) fn owe_digest(&mut self, node: Uid) {
        for link in self.0.values_mut() {
            link.due.insert(node);
            if let Some(told) = link.told.get_mut(&node) {
                told.owes_digest = true;
            }
        }
    }

    /// The sequence stands for something that no link was told.
    pub(crate) fn untell(&mut self, node: Uid, sequence: u64) {
        for told in self.0.values_mut().filter_map(|link| link.told.get_mut(&node)) {
            // What would be split too often is told from there on again.
            if told.ranges.contains(sequence) && !told.ranges.remove(Range(sequence, sequence)) {
                told.ranges = Ranges::up_to(sequence - 1).and(&told.ranges);
            }
        }
    }

    pub(crate) fn forget(&mut self, node: Uid) {
        for link in self.0.values_mut() {
            link.told.remove(&node);
            link.due.remove(&node);
        }
    }

    /// The origin whose turn it is on a link.
    pub(crate) fn next(&mut self, id: LinkId) -> Option<Uid> {
        let link = self.0.get_mut(&id)?;
        let after = link.turn.and_then(|turn| link.due.range((Excluded(turn), Unbounded)).next());
        let next = *after.or_else(|| link.due.first())?;
        link.turn = Some(next);
        Some(next)
    }

    pub(crate) fn has_next(&self, id: LinkId) -> bool {
        self.0.get(&id).is_some_and(|link| !link.due.is_empty())
    }

    /// There is nothing more to tell of the origin.
    pub(crate) fn done(&mut self, id: LinkId, node: Uid) {
        if let Some(link) = self.0.get_mut(&id) {
            link.due.remove(&node);
        }
    }

    /// What the link was told of this life of an origin.
    pub(crate) fn told(&mut self, id: LinkId, origin: Origin) -> Option<&mut Told> {
        let told = &mut self.0.get_mut(&id)?.told;
        let new = || Told { origin, ranges: Ranges::default(), owes_digest: true };
        if told.get(&origin.node).is_some_and(|told| told.origin != origin) {
            told.remove(&origin.node);
        }
        Some(told.entry(origin.node).or_insert_with(new))
    }
}
