//! The whole of one node: its own slots, those of the others, and what is to be sent.

mod abroad;
mod receive;
mod said;

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use acp_base::{BootInstant, EpochId, Uid};

use crate::{
    counters::Counters,
    limits::{
        Config, DIGEST_PERIOD, DIGEST_SOON, GROUP_REPEAT_MAX, JOINING_FOR, SUMMARY_PERIOD, SUMMARY_PERIOD_JOINING,
    },
    links::Links,
    publisher::{PublishError, Publisher},
    random::Random,
    relaying::Relaying,
    repeats::{Repeats, To},
    replica::{Ask, Change, OriginState, Replica, Slot},
    slot::{Origin, SlotKey},
    wire::{BASE_LEVEL, Body, Header, Message, encode},
};
pub use said::{Effect, Mode, Refused};

/// Slot replication of one node. Its driver hands over what comes, wakes it at [`Sync::next_deadline`], and performs its
/// [`Sync::effects`].
#[derive(Debug)]
pub struct Sync {
    publisher: Publisher,
    replica: Replica,
    repeats: Repeats,
    links: Links,
    relaying: Relaying,
    /// The domains of which a relay can be asked.
    linked: BTreeSet<Arc<str>>,
    random: Random,
    epoch: EpochId,
    /// Nodes that multicast does not reach; no more than there may be origins.
    unicast: BTreeSet<Uid>,
    peers_max: usize,
    digest_at: BootInstant,
    /// Changes have left, and nothing has followed that would show the loss of the last of them.
    digest_soon_at: Option<BootInstant>,
    summary_at: BootInstant,
    /// The last node of the last page that was compared.
    page: Option<Uid>,
    joining_until: BootInstant,
    effects: VecDeque<Effect>,
    counters: Counters,
}

impl Sync {
    /// A node that has said nothing yet. `seed` is for jitter alone and should differ between nodes.
    pub fn new(now: BootInstant, origin: Origin, epoch: EpochId, seed: u64, config: Config) -> Self {
        let mut random = Random::new(seed);
        Self {
            publisher: Publisher::new(origin, config),
            replica: Replica::new(config),
            repeats: Repeats::default(),
            links: Links::default(),
            relaying: Relaying::default(),
            linked: BTreeSet::new(),
            epoch,
            unicast: BTreeSet::new(),
            peers_max: config.origins_max,
            digest_at: now + random.up_to(DIGEST_SOON),
            digest_soon_at: None,
            summary_at: now + random.about(SUMMARY_PERIOD_JOINING),
            page: None,
            joining_until: now + JOINING_FOR,
            effects: VecDeque::new(),
            counters: Counters::default(),
            random,
        }
    }

    /// This node as an origin.
    pub const fn origin(&self) -> Origin {
        self.publisher.origin
    }

    /// Says the value of an own slot; false if it is state that has been said already: that its
    /// reporter stands by it says [`Self::confirm`] alone.
    ///
    /// # Errors
    /// Says which bound it breaks.
    pub fn publish(&mut self, now: BootInstant, key: &SlotKey, value: Arc<[u8]>) -> Result<bool, PublishError> {
        self.publisher.put(now, key, value)
    }

    /// Takes an own slot back; false if there is none.
    pub fn withdraw(&mut self, now: BootInstant, key: &SlotKey) -> bool {
        self.publisher.withdraw(now, key)
    }

    /// A reporter of this node stands by every state it has said.
    pub fn confirm(&mut self, now: BootInstant, reporter: &str) {
        self.publisher.confirm(now, reporter);
    }

    /// How a node is reached from now on; by multicast unless something else was said.
    pub fn set_mode(&mut self, node: Uid, mode: Mode) {
        match mode {
            Mode::Multicast => self.unicast.remove(&node),
            Mode::Unicast => {
                self.replica.domain(node).is_none() && self.unicast.len() < self.peers_max && self.unicast.insert(node)
            }
        };
    }

    /// The epoch in which messages are sent and taken from now on.
    pub const fn set_epoch(&mut self, epoch: EpochId) {
        self.epoch = epoch;
    }

    /// The node is no member any more: what it said is dropped, and nothing of it is taken.
    pub fn forget(&mut self, node: Uid) {
        self.unicast.remove(&node);
        self.repeats.forget(node);
        self.links.forget(node);
        self.relaying.forget(node);
        for change in self.replica.forget(node) {
            self.say(BootInstant::default(), change);
        }
    }

    /// The node is a member again.
    pub fn admit(&mut self, node: Uid) {
        self.replica.admit(node);
    }

    /// When [`Sync::wake`] has something to do.
    pub fn next_deadline(&self) -> BootInstant {
        let others =
            [self.digest_soon_at, self.publisher.flush_at(), self.repeats.wake_at(), self.replica.next_deadline()];
        let others = others.into_iter().chain([self.relaying.wake_at()]);
        others.flatten().fold(self.digest_at.min(self.summary_at), BootInstant::min)
    }

    /// Does what is due.
    pub fn wake(&mut self, now: BootInstant) {
        if self.publisher.flush_at().is_some_and(|at| at <= now) {
            self.flush(now);
        }
        if self.relaying.wake_at().is_some_and(|at| at <= now) {
            self.hand_on(now);
        }
        if self.repeats.wake_at().is_some_and(|at| at <= now) {
            self.repeat(now);
        }
        if self.digest_at <= now || self.digest_soon_at.is_some_and(|at| at <= now) {
            self.digest(now);
        }
        if self.replica.next_deadline().is_some_and(|at| at <= now) {
            self.ask(now);
        }
        if self.summary_at <= now {
            self.compare(now);
        }
    }

    /// What there is to do, in order.
    pub fn effects(&mut self) -> impl Iterator<Item = Effect> {
        std::mem::take(&mut self.effects).into_iter()
    }

    /// Takes a message that a member has sent.
    ///
    /// # Errors
    /// Says why it was not taken; it is counted.
    pub fn receive(&mut self, now: BootInstant, from: Uid, bytes: &[u8]) -> Result<(), Refused> {
        let taken = self.read(from, bytes).map(|body| self.take(now, from, body));
        taken.inspect_err(|refused| self.counters.refuse(refused))
    }

    /// What another node says in a slot.
    pub fn get(&self, now: BootInstant, node: Uid, key: &SlotKey) -> Option<Slot> {
        self.replica.get(now, node, key)
    }

    /// The slots of another node, in the order of their keys.
    pub fn slots(&self, now: BootInstant, node: Uid) -> impl Iterator<Item = (&SlotKey, Slot)> {
        self.replica.slots(now, node)
    }

    /// The slots of this node with what they say by now.
    pub fn own_slots(&self) -> impl Iterator<Item = (&SlotKey, &Arc<[u8]>)> {
        self.publisher.slots()
    }

    /// How far the other nodes are followed.
    pub fn origins(&self, now: BootInstant) -> impl Iterator<Item = OriginState> {
        self.replica.origins(now)
    }

    /// Slots of other nodes, tombstones among them, and bytes of their values.
    pub const fn used(&self) -> (usize, usize) {
        self.replica.used()
    }

    /// Counts since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn flush(&mut self, now: BootInstant) {
        let before = self.publisher.meta().newest;
        let made = self.publisher.flush(now, self.header());
        if self.publisher.meta().newest != before {
            self.links.touch(self.origin().node);
        }
        if !made.is_empty() {
            self.digest_soon_at = Some(now + DIGEST_SOON);
        }
        for bytes in made {
            self.broadcast(bytes);
        }
    }

    fn repeat(&mut self, now: BootInstant) {
        let (own, header, publisher, replica) = (self.origin().node, self.header(), &self.publisher, &self.replica);
        let sent = self.repeats.wake(now, |node, range| {
            // Either has some items or none: an iterator over both is one of one type.
            let is_own = node == own;
            let relayed = if is_own { None } else { replica.relay(now, header, node, range) };
            let (frame, held) = match relayed {
                Some((frame, held)) => (frame, Some(held)),
                None if is_own => (publisher.frame(header), None),
                None => return None,
            };
            let said = is_own.then(|| publisher.items(now, range));
            Some((frame, said.into_iter().flatten().chain(held.into_iter().flatten())))
        });
        self.counters.repeats += sent.len() as u64;
        self.effects.extend(sent.into_iter().map(|(to, bytes)| Effect::Send { to, bytes }));
    }

    fn digest(&mut self, now: BootInstant) {
        self.digest_at = now + self.random.about(DIGEST_PERIOD);
        self.digest_soon_at = None;
        let digest = self.publisher.digest(now);
        self.links.owe_digest(digest.origin.node);
        let bytes = self.encode(Body::Digest(digest));
        self.broadcast(bytes);
    }

    /// Asks the origins for what is missing. Who is not reached by multicast would not be heard asking, either.
    fn ask(&mut self, now: BootInstant) {
        for nack in self.replica.nacks(now, &mut self.random) {
            self.counters.nacks += 1;
            let asked: u64 = nack.ranges.iter().map(|range| range.count()).sum();
            self.send_towards(nack.origin.node, Body::Nack(nack), asked > GROUP_REPEAT_MAX);
        }
        for Ask { fetch, tries } in self.replica.asks(now, &mut self.random) {
            let origin = fetch.origin.node;
            let is_gone = self.replica.is_silent(now, origin);
            match self.any_heard(now).filter(|_| is_gone || tries % 2 == 1) {
                Some(other) => self.send(To::Node(other), Body::Fetch(fetch)),
                None if self.replica.domain(origin).is_some() => self.send_towards(origin, Body::Fetch(fetch), true),
                None => self.send(To::Node(origin), Body::Fetch(fetch)),
            }
        }
    }

    /// Compares the next page of origins with one other node.
    fn compare(&mut self, now: BootInstant) {
        let joining = now < self.joining_until;
        self.summary_at = now + self.random.about(if joining { SUMMARY_PERIOD_JOINING } else { SUMMARY_PERIOD });
        let Some(other) = self.any_heard(now) else { return };
        let summary = self.replica.summary(now, self.page, joining);
        self.page = Some(summary.last).filter(|last| last.as_u128() != u128::MAX);
        self.send(To::Node(other), Body::Summary(summary));
    }

    fn any_heard(&mut self, now: BootInstant) -> Option<Uid> {
        let count = u64::try_from(self.replica.heard(now).count()).ok().filter(|count| *count > 0)?;
        let index = usize::try_from(self.random.below(count)).ok()?;
        self.replica.heard(now).nth(index)
    }

    const fn header(&self) -> Header {
        Header { level: BASE_LEVEL, epoch: self.epoch }
    }

    fn encode(&self, body: Body) -> Arc<[u8]> {
        encode(&Message { header: self.header(), body }).into()
    }

    fn send(&mut self, to: To, body: Body) {
        let bytes = self.encode(body);
        self.effects.push_back(Effect::Send { to, bytes });
    }

    /// To the group, and to each node that it does not reach.
    fn broadcast(&mut self, bytes: Arc<[u8]>) {
        for node in &self.unicast {
            self.effects.push_back(Effect::Send { to: To::Node(*node), bytes: Arc::clone(&bytes) });
        }
        self.effects.push_back(Effect::Send { to: To::Group, bytes });
    }

    fn say_all(&mut self, now: BootInstant, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.say(now, change);
        }
    }

    fn say(&mut self, now: BootInstant, change: Change) {
        let (origin, key, slot) = match change {
            Change::Slot(origin, key) => {
                let slot = self.replica.get(now, origin.node, &key);
                if let Some(slot) = slot.as_ref().filter(|_| !self.links.is_empty()) {
                    self.links.untell(origin.node, slot.sequence);
                }
                (origin, key, slot)
            }
            Change::Gone(origin, key) => (origin, key, None),
        };
        self.effects.push_back(Effect::Changed { origin, key, slot });
    }
}
