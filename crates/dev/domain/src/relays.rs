//! Relays: which nodes of a domain they are, and the links between them and the nodes of other domains that tell them.
//!
//! A link keeps its order and loses nothing, as TCP does; it breaks when its ends do not reach each other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_core_sync::LinkId;

use crate::world::World;

/// Relays of a domain.
pub const RELAYS: usize = 2;
/// How long after its death a node counts as alive in its domain.
const NOTICED_US: u64 = 2_500_000;
/// Words of a link that are on their way.
const WINDOW: usize = 8;
/// How often it is looked who is a relay and whom it hears.
pub(crate) const MANAGE_US: u64 = 100_000;

/// A link, told by one node and heard by another.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) teller: usize,
    pub(crate) hearer: usize,
    pub(crate) in_flight: usize,
    /// When the last word arrives.
    arrives_us: u64,
}

/// All links, by hearer and domain.
#[derive(Debug, Default)]
pub struct Links {
    pub(crate) open: BTreeMap<LinkId, Link>,
    by_hearer: BTreeMap<(usize, usize), LinkId>,
    /// How often a hearer has looked for somebody to tell it.
    tries: BTreeMap<(usize, usize), usize>,
    next: u64,
    /// Bytes that went over links.
    pub bytes: u64,
}

impl Links {
    pub(crate) fn of(&self, hearer: usize, domain: usize) -> Option<LinkId> {
        self.by_hearer.get(&(hearer, domain)).copied()
    }
}

/// What a domain is called.
pub(crate) fn name(domain: usize) -> Arc<str> {
    format!("d{domain}").into()
}

impl World {
    /// Which domain a node is of.
    pub fn domain(&self, index: usize) -> usize {
        index % self.domains
    }

    /// The nodes of a domain that count as alive there, in the order in which they are relays.
    pub fn candidates(&self, domain: usize) -> Vec<usize> {
        let counts = |index: &usize| {
            let node = &self.nodes[*index];
            node.sync.is_some() || self.now_us < node.down_us + NOTICED_US
        };
        (0..self.nodes.len()).filter(|index| self.domain(*index) == domain).filter(counts).collect()
    }

    /// Does what the ring and the agents' links do.
    pub(crate) fn manage(&mut self) {
        if self.domains == 1 {
            return;
        }
        let broken: Vec<LinkId> =
            self.links.open.iter().filter(|(_, link)| self.is_broken(link)).map(|(id, _)| *id).collect();
        broken.into_iter().for_each(|id| self.close(id));
        for domain in 0..self.domains {
            let relays = self.candidates(domain);
            for (place, index) in relays.iter().copied().enumerate() {
                let rank = u8::try_from(place).ok().filter(|_| place < RELAYS);
                if let Some(sync) = &mut self.nodes[index].sync {
                    sync.set_relay(rank);
                }
                for other in (0..self.domains).filter(|other| *other != domain) {
                    match (rank, self.links.of(index, other)) {
                        (Some(_), None) => self.open(index, other),
                        (None, Some(id)) => self.close(id),
                        _ => {}
                    }
                }
            }
        }
    }

    fn is_broken(&self, link: &Link) -> bool {
        let ends = [link.teller, link.hearer];
        let reach = |from, to| !self.network.is_cut(from, to);
        ends.iter().any(|end| self.nodes[*end].sync.is_none())
            || !reach(link.teller, link.hearer)
            || !reach(link.hearer, link.teller)
    }

    fn open(&mut self, hearer: usize, domain: usize) {
        let candidates: Vec<usize> = (0..self.nodes.len()).filter(|index| self.domain(*index) == domain).collect();
        let tries = self.links.tries.entry((hearer, domain)).or_default();
        *tries += 1;
        let teller = candidates[*tries % candidates.len()];
        let link = Link { teller, hearer, in_flight: 0, arrives_us: 0 };
        if self.is_broken(&link) {
            return;
        }
        let now = self.nodes[hearer].clock(self.now_us);
        let Some(sync) = &mut self.nodes[hearer].sync else { return };
        sync.set_linked(name(domain), true);
        let known = sync.known_of(now, &name(domain));
        self.links.next += 1;
        let id = LinkId(self.links.next);
        let Some(sync) = &mut self.nodes[teller].sync else { return };
        assert!(sync.open_link(id, &known), "there is room for a link");
        self.links.open.insert(id, link);
        self.links.by_hearer.insert((hearer, domain), id);
        self.feed(teller);
    }

    fn close(&mut self, id: LinkId) {
        let Some(link) = self.links.open.remove(&id) else { return };
        let domain = self.domain(link.teller);
        self.links.by_hearer.remove(&(link.hearer, domain));
        if let Some(sync) = &mut self.nodes[link.teller].sync {
            sync.close_link(id);
        }
        if let Some(sync) = &mut self.nodes[link.hearer].sync {
            sync.set_linked(name(domain), false);
        }
    }

    /// Lets a node tell what its links have room for.
    pub(crate) fn feed(&mut self, teller: usize) {
        let ids: Vec<LinkId> =
            self.links.open.iter().filter(|(_, link)| link.teller == teller).map(|(id, _)| *id).collect();
        let now = self.nodes[teller].clock(self.now_us);
        for id in ids {
            while self.links.open.get(&id).is_some_and(|link| link.in_flight < WINDOW)
                && let Some(sync) = &mut self.nodes[teller].sync
                && let Some(bytes) = sync.next_for(now, id)
            {
                if let Some(link) = self.links.open.get_mut(&id) {
                    link.in_flight += 1;
                }
                self.tell(id, bytes);
            }
        }
    }

    /// A word on its way to whoever hears the link, after those before it.
    pub(crate) fn tell(&mut self, id: LinkId, bytes: Arc<[u8]>) {
        let way = 100 + self.random.below(800);
        self.links.bytes += bytes.len() as u64;
        let Some(link) = self.links.open.get_mut(&id) else { return };
        link.arrives_us = link.arrives_us.max(self.now_us + way);
        let at = link.arrives_us;
        self.on_its_way(at, crate::world::Carried::Word { id, bytes });
    }

    /// The time until all are in step, in steps of 10 ms.
    /// # Panics
    /// If they are not within `limit`.
    pub fn in_step_after(&mut self, limit: Duration) -> Duration {
        let begin = self.now_us;
        let limit = u64::try_from(limit.as_micros()).expect("short");
        while self.difference().is_some() && self.now_us < begin + limit {
            self.run_for(10);
        }
        assert_eq!(self.difference(), None, "after {} ms", (self.now_us - begin) / 1_000);
        Duration::from_micros(self.now_us - begin)
    }
}
