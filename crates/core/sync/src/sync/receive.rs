//! What a node does with what it is told.

use std::{sync::Arc, time::Duration};

use acp_base::{BootInstant, Uid};
use acp_wire_model::object::Facet;

use super::{Effect, Refused, Sync, abroad::asked as asked_ranges};
use crate::{
    limits::{BEGUN_AGAIN_SPREAD, GROUP_REPEAT_MAX, NUMBER_MAX, PART_BYTES},
    pack::within,
    ranges::Range,
    repeats::To,
    replica::{Taken, lowest},
    slot::Value,
    wire::{Blob, Body, Delta, Digest, Fetch, Message, Nack, Part, Summary, decode},
};

impl Sync {
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Body, Refused> {
        let Message { header, body } = decode(bytes)?;
        if header.epoch != self.epoch {
            return Err(Refused::Epoch { theirs: header.epoch, ours: self.epoch });
        }
        Ok(body)
    }

    pub(super) fn read(&self, from: Uid, bytes: &[u8]) -> Result<Body, Refused> {
        let body = self.decode(bytes)?;
        if self.replica.domain(from).is_some() {
            return Err(Refused::Astray(from));
        }
        let (origin, speaks_for_itself) = match &body {
            Body::Delta(delta) => (delta.origin.node, !delta.relayed),
            Body::Digest(digest) => (digest.origin.node, true),
            Body::Nack(nack) => (nack.origin.node, false),
            Body::Fetch(fetch) => (fetch.origin.node, false),
            Body::Digests(digests) => {
                let own = digests.iter().map(|digest| digest.origin.node);
                let home = own.into_iter().find(|node| self.replica.domain(*node).is_none());
                (home.unwrap_or(from), home.is_some_and(|home| !self.replica.is_forgotten(home)))
            }
            Body::Summary(_) | Body::Part(_) => (from, false),
        };
        if let Some(node) = [from, origin].into_iter().find(|node| self.replica.is_forgotten(*node)) {
            return Err(Refused::Forgotten(node));
        }
        if speaks_for_itself && origin != from {
            return Err(Refused::NotItsOwn { from, origin });
        }
        Ok(body)
    }

    /// What this node has sent to the group comes back to it, and is passed over.
    pub(super) fn take(&mut self, now: BootInstant, from: Uid, body: Body) {
        if from == self.origin().node {
            return;
        }
        match body {
            Body::Delta(delta) => self.take_delta(now, delta),
            Body::Digest(digest) => self.take_digest(now, &digest),
            Body::Nack(nack) => self.take_nack(now, from, &nack),
            Body::Summary(summary) => self.take_summary(now, from, &summary),
            Body::Fetch(fetch) => {
                for part in self.parts(&fetch) {
                    self.send(To::Node(from), Body::Part(part));
                }
            }
            Body::Part(part) => self.take_part(now, &part),
            Body::Digests(digests) => self.take_digests(now, Some(from), &digests),
        }
    }

    fn take_delta(&mut self, now: BootInstant, delta: Delta) {
        if delta.origin.node == self.origin().node {
            return self.learn_own(now, delta.origin.incarnation, delta.last);
        }
        let node = delta.origin.node;
        if self.replica.domain(node).is_some() {
            self.relaying.heard(node, Range(delta.first, delta.last));
        } else if delta.items.iter().any(|item| item.key.facet == Facet::Meta) {
            self.links.touch(node);
        }
        let changes = self.replica.take(now, delta, &mut self.random, &mut self.counters);
        self.say_all(now, changes);
    }

    pub(super) fn take_digest(&mut self, now: BootInstant, digest: &Digest) {
        let (same, changes) = self.replica.compare(now, digest, &mut self.random, &mut self.counters);
        self.say_all(now, changes);
        if self.replica.domain(digest.origin.node).is_none() {
            self.links.owe_digest(digest.origin.node);
        }
        if same {
            let stood = digest.reporters.iter().map(|stand| Effect::Stood {
                origin: digest.origin,
                reporter: Arc::clone(&stand.reporter),
                age: Duration::from_millis(stand.age_ms),
            });
            self.effects.extend(stood);
        }
    }

    fn take_nack(&mut self, now: BootInstant, from: Uid, nack: &Nack) {
        let own = self.origin();
        if nack.origin.node != own.node {
            let asked: u64 = nack.ranges.iter().map(|range| range.count()).sum();
            if self.replica.domain(nack.origin.node).is_some() {
                self.relay_asked(now, from, nack, asked > GROUP_REPEAT_MAX || self.unicast.contains(&from));
            }
            return self.replica.overhear(now, nack, &mut self.random, &mut self.counters);
        }
        self.learn_own(now, nack.origin.incarnation, 0);
        if nack.origin == self.origin() {
            let asked: u64 = nack.ranges.iter().map(|range| range.count()).sum();
            let alone = asked > GROUP_REPEAT_MAX || self.unicast.contains(&from);
            let to = if alone { To::Node(from) } else { To::Group };
            let ranges = within(&asked_ranges(nack), self.publisher.newest());
            self.repeats.ask(now, to, own.node, ranges.iter());
        }
    }

    /// Others know of this node what it does not know itself: it has lived before.
    fn learn_own(&mut self, now: BootInstant, incarnation: u64, sequence: u64) {
        let own = self.origin();
        let is_known = incarnation < own.incarnation
            || (incarnation == own.incarnation && sequence <= self.publisher.newest())
            || incarnation >= NUMBER_MAX;
        if !is_known {
            // Drawn, because a life that others have not heard of may have begun again above the same one.
            let incarnation = incarnation + 1 + self.random.below(BEGUN_AGAIN_SPREAD);
            self.publisher.begin_again(incarnation);
            self.repeats.forget(own.node);
            self.effects.push_back(Effect::BegunAgain { incarnation });
            self.digest_at = now;
        }
    }

    fn take_summary(&mut self, now: BootInstant, from: Uid, summary: &Summary) {
        let own = self.origin().node;
        if let Some(known) = summary.known.iter().find(|known| known.origin.node == own) {
            self.learn_own(now, known.origin.incarnation, known.highest);
        }
        let changes = self.replica.learn(summary);
        self.say_all(now, changes);
        for (node, ranges) in self.replica.lacking(now, from, summary) {
            self.repeats.ask(now, To::Node(from), node, ranges.iter());
        }
    }

    /// Parts of a value, one's own or another's.
    pub(super) fn parts(&self, fetch: &Fetch) -> Vec<Part> {
        let own = self.publisher.value(&fetch.key).filter(|_| fetch.origin == self.origin());
        let own = own.and_then(|value| match value {
            Value::Large { hash, bytes, .. } if *hash == fetch.hash => bytes.as_ref(),
            Value::Large { .. } | Value::Inline(_) => None,
        });
        let Some(value) = own.or_else(|| self.replica.large(fetch.origin, &fetch.key, fetch.hash)).cloned() else {
            return Vec::new();
        };
        let parts = lowest(fetch.parts);
        let all = (0_u8..64).zip(value.chunks(PART_BYTES)).filter(|(index, _)| parts & (1 << index) != 0);
        all.map(|(index, bytes)| Part { hash: fetch.hash, index, bytes: Blob(Arc::from(bytes)) }).collect()
    }

    pub(super) fn take_part(&mut self, now: BootInstant, part: &Part) {
        match self.replica.fetches.take(now, part) {
            Taken::Nothing => {}
            Taken::Bad => self.counters.bad_parts += 1,
            Taken::Whole { node, key, bytes } => {
                let change = self.replica.fetched(node, &key, part.hash, bytes);
                self.say_all(now, change);
            }
        }
    }
}
