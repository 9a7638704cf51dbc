//! What nodes tell each other of a third that one of them does not hear.

use acp_base::{BootInstant, Uid};

use super::{Change, Replica, followed::Followed};
use crate::{
    limits::SUMMARY_ORIGINS_MAX,
    pack::Frame,
    ranges::{Range, Ranges},
    wire::{Header, Item, Known, Origin, Summary},
};

impl Replica {
    /// What a node holds of a page of origins; the page begins above `after`.
    pub(crate) fn summary(&self, now: BootInstant, after: Option<Uid>, joining: bool) -> Summary {
        let first = after.map_or(0, |uid| uid.as_u128().saturating_add(1));
        let page = || self.origins.range(Uid::from_u128(first)..);
        let known: Vec<Known> = page().take(SUMMARY_ORIGINS_MAX).map(|(_, followed)| followed.known(now)).collect();
        let is_last = page().nth(SUMMARY_ORIGINS_MAX).is_none();
        let last = known.last().filter(|_| !is_last).map_or(Uid::from_u128(u128::MAX), |known| known.origin.node);
        Summary { joining, first: Uid::from_u128(first), last, known }
    }

    /// Another node has heard of later lives, even if only that they began: what earlier ones said is void here as it is there.
    pub(crate) fn learn(&mut self, summary: &Summary) -> Vec<Change> {
        let mut changes = Vec::new();
        for Known { origin, .. } in &summary.known {
            changes.extend(self.learn_of(*origin));
        }
        changes
    }

    /// Somebody has heard of this life of a node.
    pub(crate) fn learn_of(&mut self, origin: Origin) -> Vec<Change> {
        let known = self.origins.get(&origin.node).map(|followed| followed.origin.incarnation);
        if known.is_none_or(|known| known >= origin.incarnation) {
            return Vec::new();
        }
        let changes = self.drop_origin(origin.node);
        self.origins.insert(origin.node, Followed::new(origin));
        changes
    }

    /// What stands here that the sender of a summary lacks and does not get from its origins.
    pub(crate) fn lacking(&self, now: BootInstant, from: Uid, summary: &Summary) -> Vec<(Uid, Ranges)> {
        if summary.first > summary.last {
            return Vec::new();
        }
        let mut lacking = Vec::new();
        for (node, followed) in self.origins.range(summary.first..=summary.last).filter(|(node, _)| **node != from) {
            let known = summary.known.iter().find(|known| known.origin.node == *node);
            let is_needed = match known {
                Some(known) => known.silent,
                None => !summary.joining || followed.is_silent(now),
            };
            let ranges = followed.ahead_of(now, known);
            if is_needed && !ranges.is_empty() {
                lacking.push((*node, ranges));
            }
        }
        lacking
    }

    /// What stands in a range of an origin, to be relayed.
    pub(crate) fn relay(
        &self,
        now: BootInstant,
        header: Header,
        node: Uid,
        range: Range,
    ) -> Option<(Frame, impl Iterator<Item = Item>)> {
        let followed = self.origins.get(&node)?;
        let (newest, horizon) = followed.view(range.1);
        let frame = Frame { header, origin: followed.origin, relayed: true, newest, horizon };
        Some((frame, followed.items(now, range)))
    }
}
