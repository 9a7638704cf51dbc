//! What was asked for and has not been repeated yet: of this node's slots, and of those that it holds of others.
//!
//! **Invariant**: however many nodes ask the group for the same, it is repeated once in a while and to the group once.

use std::{collections::BTreeMap, sync::Arc};

use acp_base::{BootInstant, Uid};

use crate::{
    limits::{ASKED_MAX, DATAGRAMS_PER_WAKE, PACE, REPEAT_DELAY, REPEAT_HOLD},
    pack::Frame,
    ranges::{Range, Ranges},
    wire::Item,
};

/// Where something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// To all that multicast reaches.
    Group,
    /// To this node.
    Node(Uid),
}

/// Of one origin, for one target.
type Asked = (To, Uid);

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    asked: BTreeMap<Asked, Ranges>,
    wake_at: Option<BootInstant>,
    /// What the group got lately of an origin, and when.
    held: BTreeMap<Uid, (BootInstant, Ranges)>,
}

impl Repeats {
    /// Remembers that the target wants these sequences of an origin; without room it has to ask again.
    pub(crate) fn ask(&mut self, now: BootInstant, to: To, of: Uid, ranges: impl Iterator<Item = Range>) {
        if self.asked.len() >= ASKED_MAX && !self.asked.contains_key(&(to, of)) {
            return;
        }
        let mut wanted = self.asked.remove(&(to, of)).unwrap_or_default();
        for range in ranges {
            // What does not fit is asked for again.
            if !wanted.insert(range) {
                break;
            }
        }
        if to == To::Group {
            self.subtract_held(now, of, &mut wanted);
        }
        if !wanted.is_empty() {
            self.asked.insert((to, of), wanted);
            self.wake_at.get_or_insert(now + REPEAT_DELAY);
        }
    }

    fn subtract_held(&self, now: BootInstant, of: Uid, wanted: &mut Ranges) {
        let held = self.held.get(&of).filter(|(at, _)| now.since(*at) < REPEAT_HOLD);
        for range in held.into_iter().flat_map(|(_, ranges)| ranges.iter()) {
            if !wanted.remove(range) {
                return;
            }
        }
    }

    fn hold(&mut self, now: BootInstant, of: Uid, range: Range) {
        self.held.retain(|_, (at, _)| now.since(*at) < REPEAT_HOLD);
        let (_, ranges) = self.held.entry(of).or_insert_with(|| (now, Ranges::default()));
        if !ranges.insert(range) {
            *ranges = Ranges::default();
        }
    }

    pub(crate) const fn wake_at(&self) -> Option<BootInstant> {
        self.wake_at
    }

    /// Nothing is repeated of this origin or to this node any more.
    pub(crate) fn forget(&mut self, node: Uid) {
        self.asked.retain(|(to, of), _| *to != To::Node(node) && *of != node);
    }

    /// What is to be sent now. `source` says what stands in a range of an origin.
    pub(crate) fn wake<'a, I: Iterator<Item = Item>>(
        &mut self,
        now: BootInstant,
        source: impl Fn(Uid, Range) -> Option<(Frame, I)> + 'a,
    ) -> Vec<(To, Arc<[u8]>)> {
        let mut sent = Vec::new();
        while sent.len() < DATAGRAMS_PER_WAKE
            && let Some(((to, of), mut wanted)) = self.asked.pop_first()
        {
            let Some(range) = wanted.iter().next() else { continue };
            if let Some((frame, items)) = source(of, range) {
                let (made, left) = frame.deltas(range, items, DATAGRAMS_PER_WAKE - sent.len());
                sent.extend(made.into_iter().map(|bytes| (to, bytes)));
                let done = Range(range.0, left.map_or(range.1, |left| left.0 - 1));
                if to == To::Group {
                    self.hold(now, of, done);
                }
                if wanted.remove(done) && !wanted.is_empty() {
                    self.asked.insert((to, of), wanted);
                }
            }
        }
        self.wake_at = (!self.asked.is_empty()).then(|| now + PACE);
        sent
    }
}

#[cfg(test)]
mod tests {
    use acp_base::EpochId;
    use acp_wire_model::{Kind, object::Facet};

    use super::*;
    use crate::wire::{Body, Header, Origin, Said, SlotKey, decode};

    const NODE: Uid = Uid::from_u128(1);

    fn source(_: Uid, range: Range) -> Option<(Frame, std::vec::IntoIter<Item>)> {
        let header = Header { level: 1, epoch: EpochId { number: 1, id: NODE } };
        let origin = Origin { node: NODE, incarnation: 1 };
        let key = |n: u64| SlotKey {
            kind: Kind::Job,
            uid: Uid::from_u128(n.into()),
            reporter: "r".into(),
            facet: Facet::Meta,
        };
        let items: Vec<Item> =
            (range.0..=range.1).map(|n| Item { sequence: n, age_ms: 0, key: key(n), said: Said::Gone }).collect();
        Some((Frame { header, origin, relayed: false, newest: 10_000, horizon: 0 }, items.into_iter()))
    }

    fn ranges(sent: &[(To, Arc<[u8]>)]) -> Vec<(To, u64, u64)> {
        let read = sent.iter().map(|(to, bytes)| (*to, decode(bytes).expect("our own").body));
        read.filter_map(|(to, body)| match body {
            Body::Delta(delta) => Some((to, delta.first, delta.last)),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn many_who_ask_get_one_answer() {
        let (mut repeats, now) = (Repeats::default(), BootInstant::from_millis(1));
        for _ in 0..50 {
            repeats.ask(now, To::Group, NODE, [Range(3, 4), Range(7, 7)].into_iter());
        }
        assert_eq!(repeats.wake_at(), Some(now + REPEAT_DELAY));
        let sent = repeats.wake(now + REPEAT_DELAY, source);
        assert_eq!(ranges(&sent), [(To::Group, 3, 4), (To::Group, 7, 7)]);
        repeats.ask(now + REPEAT_HOLD, To::Group, NODE, [Range(3, 4)].into_iter());
        assert_eq!(repeats.wake_at(), None, "its NACK was on its way");
        repeats.ask(now + REPEAT_HOLD, To::Node(NODE), NODE, [Range(3, 4)].into_iter());
        assert!(repeats.wake_at().is_some(), "who is not reached by the group has got nothing");
        repeats.ask(now + REPEAT_DELAY + REPEAT_HOLD, To::Group, NODE, [Range(3, 4)].into_iter());
        assert_eq!(repeats.wake(now + REPEAT_HOLD * 2, source).len(), 2);
    }

    #[test]
    fn a_long_answer_is_paced() {
        let (mut repeats, mut now) = (Repeats::default(), BootInstant::from_millis(1));
        repeats.ask(now, To::Node(NODE), NODE, [Range(1, 4_000)].into_iter());
        let (mut next, mut wakes) = (1, 0);
        while let Some(at) = repeats.wake_at() {
            now = at;
            let sent = repeats.wake(now, source);
            assert!(sent.len() <= DATAGRAMS_PER_WAKE);
            for (_, first, last) in ranges(&sent) {
                assert_eq!(first, next);
                next = last + 1;
            }
            wakes += 1;
        }
        assert_eq!(next, 4_001);
        assert!(wakes > 3, "{wakes}");
    }
}
