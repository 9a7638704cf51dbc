//! Domains: what relays of others are told of this one, and what this one is told of others.
//!
//! Whoever wants to know what a domain says asks one of its nodes: over a link it is told what each origin of that domain says, and
//! of no other. So nothing goes in a circle, however many domains there are, and each change crosses once for each relay.

use std::sync::Arc;

use acp_base::{BootInstant, Uid};

use super::{Effect, Refused, Sync};
use crate::{
    limits::{ANSWER_MAX, DIGESTS_MAX, MTU_BYTES},
    links::LinkId,
    pack::Packed,
    ranges::{Range, Ranges},
    repeats::To,
    replica::Stance,
    wire::{Body, Delta, Digest, FEATURE_LEVEL, Header, Known, Message, Nack, encode},
};

impl Sync {
    /// Says of which domain another node is; none: of this node's own. What it said is dropped where that changes how it is heard.
    pub fn set_domain(&mut self, now: BootInstant, node: Uid, domain: Option<Arc<str>>) {
        if domain.is_some() {
            self.unicast.remove(&node);
            self.links.forget(node);
        } else {
            self.relaying.forget(node);
        }
        let changes = self.replica.set_domain(node, domain);
        self.say_all(now, changes);
    }

    /// Whether this node hands on to its domain what others say, and how many relays come before it.
    pub fn set_relay(&mut self, rank: Option<u8>) {
        self.relaying.set_rank(rank);
    }

    /// Whether this node can ask a relay of another domain.
    pub fn set_linked(&mut self, domain: Arc<str>, is_linked: bool) {
        if is_linked {
            self.linked.insert(domain);
        } else {
            self.linked.remove(&domain);
        }
    }

    /// How far the origins of a domain are followed: what its relay need not tell.
    pub fn known_of(&self, now: BootInstant, domain: &str) -> Vec<Known> {
        self.replica.known_of(now, domain)
    }

    /// Somebody of another domain, who knows this much, wants to be told what this one says. False if there are too many.
    pub fn open_link(&mut self, id: LinkId, known: &[Known]) -> bool {
        let origins = self.replica.home().chain([self.origin().node]);
        self.links.open(id, known, origins)
    }

    /// The link is no more.
    pub fn close_link(&mut self, id: LinkId) {
        self.links.close(id);
    }

    /// Whether a link may be told something.
    pub fn has_for(&self, id: LinkId) -> bool {
        self.links.has_next(id)
    }

    /// What a link is told next; to be asked for when it has room, until there is nothing.
    pub fn next_for(&mut self, now: BootInstant, id: LinkId) -> Option<Arc<[u8]>> {
        while let Some(node) = self.links.next(id) {
            match self.tell(now, id, node) {
                Some(bytes) => return Some(bytes),
                None => self.links.done(id, node),
            }
        }
        None
    }

    fn tell(&mut self, now: BootInstant, id: LinkId, node: Uid) -> Option<Arc<[u8]>> {
        let stance = self.stance(now, node)?;
        let told = self.links.told(id, stance.origin)?;
        let piece = stance.received.first_without(&told.ranges).filter(|piece| piece.0 <= stance.newest);
        if let Some(mut piece) = piece {
            piece.1 = piece.1.min(stance.newest);
            let (made, left) = self.pack_abroad(now, node, piece, 1)?;
            piece.1 = left.map_or(piece.1, |left| left.0 - 1);
            let told = self.links.told(id, stance.origin)?;
            if !told.ranges.insert(piece) {
                self.links.done(id, node);
            }
            return made.into_iter().next();
        }
        // Where something is missing here it would only be asked for in vain.
        let digest = stance.digest.filter(|digest| stance.received.contiguous() >= digest.newest)?;
        std::mem::take(&mut told.owes_digest).then(|| self.encode_digests(vec![digest]))
    }

    /// Where this node, or another one of its domain, stands for others.
    fn stance(&mut self, now: BootInstant, node: Uid) -> Option<Stance> {
        if node != self.origin().node {
            return self.replica.stance(now, node).filter(|_| self.replica.domain(node).is_none());
        }
        let received = Ranges::up_to(self.publisher.newest());
        let digest = self.publisher.digest(now).abroad();
        Some(Stance { origin: self.origin(), received, newest: self.publisher.meta().newest, digest })
    }

    fn pack_abroad(&self, now: BootInstant, node: Uid, range: Range, most: usize) -> Option<Packed> {
        if node == self.origin().node {
            let (frame, items) = self.publisher.abroad(now, self.header(), range);
            return Some(frame.deltas(range, items, most));
        }
        let (frame, items) = self.replica.items_abroad(now, self.header(), node, range)?;
        Some(frame.deltas(range, items, most))
    }

    /// Answers a relay of another domain that lacks something of this one.
    ///
    /// # Errors
    /// Says why the message is none that is answered; it is counted.
    pub fn answer(&mut self, now: BootInstant, bytes: &[u8]) -> Result<Vec<Arc<[u8]>>, Refused> {
        let taken = self.read_asked(bytes).map(|body| match body {
            Body::Nack(nack) if nack.ranges.is_empty() => {
                let changes = self.replica.learn_of(nack.origin);
                self.say_all(now, changes);
                Vec::new()
            }
            Body::Nack(nack) => self.answer_nack(now, &nack),
            Body::Fetch(fetch) => self.parts(&fetch).into_iter().map(|part| self.encode(Body::Part(part))).collect(),
            _ => Vec::new(),
        });
        taken.inspect_err(|refused| self.counters.refuse(refused))
    }

    fn answer_nack(&mut self, now: BootInstant, nack: &Nack) -> Vec<Arc<[u8]>> {
        let node = nack.origin.node;
        let Some(stance) = self.stance(now, node).filter(|stance| stance.origin == nack.origin) else {
            return Vec::new();
        };
        let wanted = asked(nack).and(&stance.received);
        let mut made = Vec::new();
        for range in wanted.iter().filter(|range| range.0 <= stance.newest) {
            let range = Range(range.0, range.1.min(stance.newest));
            made.extend(
                self.pack_abroad(now, node, range, ANSWER_MAX - made.len()).into_iter().flat_map(|made| made.0),
            );
            if made.len() >= ANSWER_MAX {
                break;
            }
        }
        made
    }

    fn read_asked(&self, bytes: &[u8]) -> Result<Body, Refused> {
        let body = self.decode(bytes)?;
        let node = match &body {
            Body::Nack(nack) => nack.origin.node,
            Body::Fetch(fetch) => fetch.origin.node,
            _ => return Err(Refused::Astray(self.origin().node)),
        };
        if self.replica.domain(node).is_some() { Err(Refused::Astray(node)) } else { Ok(body) }
    }

    /// Takes what a relay of another domain has told or answered.
    ///
    /// # Errors
    /// Says why it was not taken; it is counted.
    pub fn receive_from(&mut self, now: BootInstant, domain: &str, bytes: &[u8]) -> Result<(), Refused> {
        let read = self.read_told(domain, bytes);
        let taken = read.map(|body| match body {
            Body::Delta(delta) => self.take_told(now, delta),
            Body::Digests(digests) => self.take_digests(now, None, &digests),
            Body::Part(part) => self.take_part(now, &part),
            _ => {}
        });
        taken.inspect_err(|refused| self.counters.refuse(refused))
    }

    fn read_told(&self, domain: &str, bytes: &[u8]) -> Result<Body, Refused> {
        let is_of = |node: Uid| self.replica.domain(node).is_some_and(|known| **known == *domain);
        let body = self.decode(bytes)?;
        let astray = match &body {
            Body::Delta(delta) if delta.relayed => Some(delta.origin.node).filter(|node| !is_of(*node)),
            Body::Digests(digests) => digests.iter().map(|digest| digest.origin.node).find(|node| !is_of(*node)),
            Body::Part(_) => None,
            _ => Some(self.origin().node),
        };
        astray.map_or(Ok(body), |node| Err(Refused::Astray(node)))
    }

    /// What is new here is new to this domain, unless this node has only just come.
    fn take_told(&mut self, now: BootInstant, delta: Delta) {
        let (origin, range) = (delta.origin, Range(delta.first, delta.last));
        let knew = self.replica.received(origin.node).is_some_and(|(known, received)| {
            known.incarnation > origin.incarnation || (known == origin && received.covers(range))
        });
        let changes = self.replica.take(now, delta, &mut self.random, &mut self.counters);
        if (!knew || !changes.is_empty()) && now >= self.joining_until {
            self.relaying.hand_on(now, origin.node, [range].into_iter());
        }
        self.replica.correct(now, origin, &mut self.random);
        self.say_all(now, changes);
    }

    /// Takes where origins of other domains stand, by a relay of this domain or, at one, by a link.
    pub(super) fn take_digests(&mut self, now: BootInstant, via: Option<Uid>, digests: &[Digest]) {
        for digest in digests {
            if self.replica.is_forgotten(digest.origin.node) {
                continue;
            }
            self.take_digest(now, digest);
            self.replica.heard_via(digest.origin, via);
            match via {
                Some(_) => self.relaying.heard_digest(now, digest),
                None => self.relaying.hand_on_digest(now, digest),
            }
        }
    }

    /// A node of this domain lacks something of another one.
    pub(super) fn relay_asked(&mut self, now: BootInstant, from: Uid, nack: &Nack, is_alone: bool) {
        if !self.relaying.is_relay() {
            return;
        }
        if nack.ranges.is_empty() {
            let changes = self.replica.learn_of(nack.origin);
            return self.say_all(now, changes);
        }
        let node = nack.origin.node;
        let Some((_, received)) = self.replica.received(node).filter(|(origin, _)| *origin == nack.origin) else {
            return;
        };
        let wanted = asked(nack).and(received);
        if is_alone {
            self.repeats.ask(now, To::Node(from), node, wanted.iter());
        } else {
            self.relaying.hand_on(now, node, wanted.iter());
        }
    }

    /// Hands on what is due.
    pub(super) fn hand_on(&mut self, now: BootInstant) {
        let mut digests = Vec::new();
        for (node, note) in self.relaying.wake(now) {
            let Some((origin, received)) = self.replica.received(node) else { continue };
            let whole = received.contiguous();
            let ranges = note.ranges.and(received);
            for to in self.unicast.iter().map(|node| To::Node(*node)).chain([To::Group]) {
                self.repeats.ask(now, to, node, ranges.iter());
            }
            digests.extend(note.digest.filter(|(_, digest)| digest.origin == origin && digest.newest <= whole).map(
                |(at, mut digest)| {
                    digest.grow_old(now.since(at));
                    digest
                },
            ));
        }
        self.say_digests(digests);
    }

    /// As many in one message as it has room for.
    fn say_digests(&mut self, digests: Vec<Digest>) {
        let mut page: Vec<Digest> = Vec::new();
        for digest in digests {
            page.push(digest);
            if page.len() > 1 && (page.len() > DIGESTS_MAX || self.encode_digests(page.clone()).len() > MTU_BYTES) {
                let next = page.pop();
                let bytes = self.encode_digests(std::mem::take(&mut page));
                self.broadcast(bytes);
                page.extend(next);
            }
        }
        if !page.is_empty() {
            let bytes = self.encode_digests(page);
            self.broadcast(bytes);
        }
    }

    fn encode_digests(&self, digests: Vec<Digest>) -> Arc<[u8]> {
        let header = Header { level: FEATURE_LEVEL, epoch: self.epoch };
        encode(&Message { header, body: Body::Digests(digests) }).into()
    }

    /// Sends to whoever knows what an origin says: itself, or a relay of its domain, or one of this domain's.
    pub(super) fn send_towards(&mut self, node: Uid, body: Body, is_large: bool) {
        let Some(domain) = self.replica.domain(node).cloned() else {
            let to = if self.unicast.contains(&node) { To::Node(node) } else { To::Group };
            return self.send(to, body);
        };
        if self.linked.contains(&domain) {
            let bytes = self.encode(body);
            return self.effects.push_back(Effect::Ask { domain, bytes });
        }
        let via = self.replica.via(node).filter(|via| is_large || self.unicast.contains(via));
        self.send(via.map_or(To::Group, To::Node), body);
    }
}

/// What a node asks for; the rest comes later where that would be too many ranges.
pub(super) fn asked(nack: &Nack) -> Ranges {
    let mut ranges = Ranges::default();
    for range in &nack.ranges {
        if !ranges.insert(*range) {
            break;
        }
    }
    ranges
}
