//! Origins of other domains, as relays tell of them; and of this domain, as others are told.

use std::sync::Arc;

use acp_base::{BootInstant, Uid};

use super::{Change, Replica};
use crate::{
    pack::Frame,
    random::Random,
    ranges::{Range, Ranges},
    slot::Origin,
    wire::{Digest, Header, Item, Known},
};

/// Where an origin of this domain stands for others.
#[derive(Debug)]
pub(crate) struct Stance {
    pub(crate) origin: Origin,
    /// What of it is here.
    pub(crate) received: Ranges,
    /// The newest sequence of its state.
    pub(crate) newest: u64,
    /// What it said last of where it stands.
    pub(crate) digest: Option<Digest>,
}

impl Replica {
    /// Which domain the node is of, if it is another one.
    pub(crate) fn domain(&self, node: Uid) -> Option<&Arc<str>> {
        self.abroad.get(&node)
    }

    /// Says which domain a node is of. What it said is dropped if it came by the other way: of other domains nobody has
    /// measurements.
    pub(crate) fn set_domain(&mut self, node: Uid, domain: Option<Arc<str>>) -> Vec<Change> {
        let is_abroad = domain.is_some();
        let before = match domain {
            Some(domain) => self.abroad.insert(node, domain),
            None => self.abroad.remove(&node),
        };
        if before.is_some() == is_abroad { Vec::new() } else { self.drop_origin(node) }
    }

    /// How far the origins of another domain are followed.
    pub(crate) fn known_of(&self, now: BootInstant, domain: &str) -> Vec<Known> {
        let of = |node: &Uid| self.domain(*node).is_some_and(|known| **known == *domain);
        self.origins.iter().filter(|(node, _)| of(node)).map(|(_, followed)| followed.known(now)).collect()
    }

    /// The origins of this domain.
    pub(crate) fn home(&self) -> impl Iterator<Item = Uid> {
        self.origins.keys().copied().filter(|node| !self.abroad.contains_key(node))
    }

    /// Which life of the node is followed, and what of it was received.
    pub(crate) fn received(&self, node: Uid) -> Option<(Origin, &Ranges)> {
        self.origins.get(&node).map(|followed| (followed.origin, followed.received()))
    }

    /// Who relays what the node says, as far as it was heard.
    pub(crate) fn via(&self, node: Uid) -> Option<Uid> {
        self.origins.get(&node)?.via
    }

    /// A relay was heard to tell of this life.
    pub(crate) fn heard_via(&mut self, origin: Origin, via: Option<Uid>) {
        if let Some(followed) = self.origins.get_mut(&origin.node).filter(|followed| followed.origin == origin) {
            followed.via = via;
        }
    }

    /// A relay told of an earlier life than is known: its node has to be told.
    pub(crate) fn correct(&mut self, now: BootInstant, origin: Origin, random: &mut Random) {
        let is_stale =
            self.origins.get(&origin.node).is_some_and(|known| origin.incarnation < known.origin.incarnation);
        if is_stale {
            self.overtake(now, origin.node, random);
        }
    }

    /// Where an origin of this domain stands; none where this replica may lack values itself.
    pub(crate) fn stance(&self, now: BootInstant, node: Uid) -> Option<Stance> {
        let followed = self.origins.get(&node).filter(|followed| !followed.is_starved())?;
        let (newest, digest) = followed.abroad(now);
        Some(Stance { origin: followed.origin, received: followed.received().clone(), newest, digest })
    }

    /// What other domains are told of these sequences.
    pub(crate) fn items_abroad(
        &self,
        now: BootInstant,
        header: Header,
        node: Uid,
        range: Range,
    ) -> Option<(Frame, impl Iterator<Item = Item>)> {
        Some(self.origins.get(&node)?.items_abroad(now, header, range))
    }
}
