//! The world: nodes, datagrams on their way, and time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use acp_base::Uid;
use acp_core_sync::{
    Config, Effect, LinkId, Mode, SlotKey, To,
    wire::{Body, decode},
};
use acp_dev_dice::Random;
use acp_wire_model::{Kind, object::Facet};

use crate::{
    network::Network,
    node::{Node, number},
    relays::{Links, MANAGE_US, name},
    scale::timed,
};

/// The clocks of nodes begin later than this, so that ages before a node's boot are tried as well.
const OFFSET_US: u64 = 3_600_000_000;

/// What is on its way.
#[derive(Debug)]
pub(crate) enum Carried {
    Datagram {
        to: usize,
        from: Uid,
        bytes: Arc<[u8]>,
    },
    /// Over a link, from its teller.
    Word {
        id: LinkId,
        bytes: Arc<[u8]>,
    },
    /// The same, in answer to a question.
    Answer {
        id: LinkId,
        bytes: Arc<[u8]>,
    },
    /// Over a link, from its hearer.
    Question {
        id: LinkId,
        bytes: Arc<[u8]>,
    },
}

/// The world.
#[derive(Debug)]
pub struct World {
    /// What time it is, in microseconds.
    pub now_us: u64,
    /// The nodes, those that are down as well.
    pub nodes: Vec<Node>,
    /// How many domains; nodes are dealt out to them in turn.
    pub domains: usize,
    /// What joins them.
    pub links: Links,
    /// Deltas that were sent to a group or a node of one's domain, while there are several.
    pub deltas: u64,
    /// The network between them.
    pub network: Network,
    /// Where chance comes from.
    pub random: Random,
    /// The bounds of every node.
    pub config: Config,
    /// What broke, by invariant; the first time.
    pub wrong: BTreeMap<&'static str, String>,
    /// How often a node learnt that it had lived before.
    pub begun_again: u64,
    /// Restarts.
    pub lives: u64,
    /// Messages that were refused.
    pub refused: u64,
    on_the_way: BTreeMap<(u64, u64), Carried>,
    deadlines: BTreeSet<(u64, usize)>,
    serial: u64,
    /// When each number was said.
    said_us: Vec<u64>,
    /// Whose datagrams are kept, and its time measured.
    tap: Option<Tap>,
}

/// Messages, each with its sender.
pub type Received = Vec<(Uid, Arc<[u8]>)>;

#[derive(Debug)]
struct Tap {
    node: usize,
    received: Received,
    spent: Duration,
}

impl World {
    /// A world of so many nodes, all of which have just started.
    pub fn new(seed: u64, nodes: usize, config: Config) -> Self {
        Self::with_domains(seed, nodes, 1, config)
    }

    /// The same in so many domains.
    pub fn with_domains(seed: u64, nodes: usize, domains: usize, config: Config) -> Self {
        let mut world = Self {
            now_us: 1_000_000,
            nodes: Vec::new(),
            domains,
            links: Links::default(),
            deltas: 0,
            network: Network::calm(),
            random: Random::new(seed),
            config,
            wrong: BTreeMap::new(),
            begun_again: 0,
            lives: 0,
            refused: 0,
            on_the_way: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            serial: 0,
            said_us: vec![0],
            tap: None,
        };
        for _ in 0..nodes {
            world.join();
        }
        world
    }

    /// A node that was not there before.
    pub fn join(&mut self) {
        let offset_us = self.random.below(OFFSET_US);
        self.nodes.push(Node::new(self.nodes.len(), offset_us));
        self.start(self.nodes.len() - 1);
    }

    /// A node that is down starts.
    pub fn start(&mut self, index: usize) {
        let seed = self.random.number();
        self.nodes[index].start(self.now_us, seed, self.config);
        self.settle_domains();
        self.settle_modes();
        self.touched(index);
    }

    /// A node ends, and forgets what it was told.
    pub fn crash(&mut self, index: usize) {
        self.nodes[index].crash(self.now_us);
        self.touched(index);
    }

    /// What membership says.
    fn settle_domains(&mut self) {
        let uids: Vec<Uid> = self.nodes.iter().map(|node| node.uid).collect();
        for index in 0..self.nodes.len() {
            let (own, now) = (self.domain(index), self.nodes[index].clock(self.now_us));
            for (other, uid) in uids.iter().enumerate() {
                let domain = Some(self.domain(other)).filter(|domain| *domain != own).map(name);
                if let Some(sync) = &mut self.nodes[index].sync {
                    sync.set_domain(now, *uid, domain);
                }
            }
        }
    }

    /// What the self-test would find.
    pub fn settle_modes(&mut self) {
        let uids: Vec<Uid> = self.nodes.iter().map(|node| node.uid).collect();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(sync) = &mut node.sync else { continue };
            for (other, uid) in uids.iter().enumerate() {
                let is_deaf = self.network.deaf.contains(&(index.min(other), index.max(other)));
                sync.set_mode(*uid, if is_deaf { Mode::Unicast } else { Mode::Multicast });
            }
        }
    }

    /// Who is up.
    pub fn up(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].sync.is_some()).collect()
    }

    /// A node says a new value of one of its slots.
    pub fn publish(&mut self, index: usize, slot: u64, bytes: usize) {
        let number = self.said_us.len() as u64;
        self.said_us.push(self.now_us);
        let mut value = number.to_be_bytes().to_vec();
        value.resize(bytes.max(8), b'x');
        let (now, node) = (self.nodes[index].clock(self.now_us), &mut self.nodes[index]);
        if let Some(sync) = &mut node.sync
            && let Err(error) = sync.publish(now, &key(slot), value.into())
        {
            panic!("{error}");
        }
        self.touched(index);
    }

    /// A node says nothing of one of its slots any more.
    pub fn withdraw(&mut self, index: usize, slot: u64) {
        let (now, node) = (self.nodes[index].clock(self.now_us), &mut self.nodes[index]);
        if let Some(sync) = &mut node.sync {
            sync.withdraw(now, &key(slot));
        }
        self.touched(index);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, millis: u64) {
        let end = self.now_us + millis * 1_000;
        loop {
            let managed = self.now_us - self.now_us % MANAGE_US + MANAGE_US;
            if self.domains == 1 || managed > end {
                break;
            }
            self.run_until(managed);
            self.manage();
        }
        self.run_until(end);
    }

    fn run_until(&mut self, end: u64) {
        loop {
            let datagram = self.on_the_way.first_key_value().map(|((at, _), _)| *at);
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let next = datagram.into_iter().chain(deadline).min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now_us = self.now_us.max(next);
            if datagram == Some(next) {
                self.deliver();
            } else {
                self.wake();
            }
        }
        self.now_us = end;
    }

    fn deliver(&mut self) {
        let Some((_, carried)) = self.on_the_way.pop_first() else { return };
        match carried {
            Carried::Datagram { to, from, bytes } => self.receive(to, from, &bytes),
            Carried::Word { id, bytes } => {
                if let Some(link) = self.links.open.get_mut(&id) {
                    link.in_flight -= 1;
                    let teller = link.teller;
                    self.heard(id, &bytes);
                    self.feed(teller);
                }
            }
            Carried::Answer { id, bytes } => self.heard(id, &bytes),
            Carried::Question { id, bytes } => self.asked(id, &bytes),
        }
    }

    fn receive(&mut self, to: usize, from: Uid, bytes: &Arc<[u8]>) {
        let now = self.nodes[to].clock(self.now_us);
        let Some(sync) = &mut self.nodes[to].sync else { return };
        let taken = match self.tap.as_mut().filter(|tap| tap.node == to) {
            None => sync.receive(now, from, bytes),
            Some(tap) => {
                tap.received.push((from, Arc::clone(bytes)));
                timed(&mut tap.spent, || sync.receive(now, from, bytes))
            }
        };
        self.refused += u64::from(taken.is_err());
        self.touched(to);
    }

    /// Keeps what a node receives from now on, and measures how long it takes to take it in.
    pub fn tap(&mut self, node: usize) {
        self.tap = Some(Tap { node, received: Vec::new(), spent: Duration::ZERO });
    }

    /// What it received since, each with its sender, and how long that took.
    pub fn untap(&mut self) -> (Received, Duration) {
        self.tap.take().map(|tap| (tap.received, tap.spent)).unwrap_or_default()
    }

    fn heard(&mut self, id: LinkId, bytes: &[u8]) {
        let Some((hearer, teller)) = self.links.open.get(&id).map(|link| (link.hearer, link.teller)) else { return };
        let (now, domain) = (self.nodes[hearer].clock(self.now_us), name(self.domain(teller)));
        if let Some(sync) = &mut self.nodes[hearer].sync {
            self.refused += u64::from(sync.receive_from(now, &domain, bytes).is_err());
        }
        self.touched(hearer);
    }

    fn asked(&mut self, id: LinkId, bytes: &[u8]) {
        let Some(teller) = self.links.open.get(&id).map(|link| link.teller) else { return };
        let now = self.nodes[teller].clock(self.now_us);
        let answers = self.nodes[teller].sync.as_mut().and_then(|sync| sync.answer(now, bytes).ok());
        for bytes in answers.into_iter().flatten() {
            let at = self.now_us + 100 + self.random.below(800);
            self.links.bytes += bytes.len() as u64;
            self.on_its_way(at, Carried::Answer { id, bytes });
        }
        self.touched(teller);
    }

    pub(crate) fn on_its_way(&mut self, at_us: u64, carried: Carried) {
        self.serial += 1;
        self.on_the_way.insert((at_us, self.serial), carried);
    }

    fn wake(&mut self) {
        let Some((_, index)) = self.deadlines.first().copied() else { return };
        let now = self.nodes[index].clock(self.now_us);
        if let Some(sync) = &mut self.nodes[index].sync {
            let before = sync.next_deadline();
            sync.wake(now);
            let after = sync.next_deadline();
            assert!(after > before || after > now, "node {index} wakes again and again at {now:?}");
        }
        self.touched(index);
    }

    /// Performs what a node asks for, and notes when it wants to be woken.
    fn touched(&mut self, index: usize) {
        let effects: Vec<Effect> =
            self.nodes[index].sync.iter_mut().flat_map(|sync| sync.effects().collect::<Vec<_>>()).collect();
        for effect in effects {
            self.perform(index, effect);
        }
        self.feed(index);
        let node = &mut self.nodes[index];
        let deadline = node.next_deadline_us();
        if node.deadline_us != deadline {
            if let Some(old) = std::mem::replace(&mut node.deadline_us, deadline) {
                self.deadlines.remove(&(old, index));
            }
            self.deadlines.extend(deadline.map(|at| (at, index)));
        }
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send { to, bytes } => self.send(index, to, &bytes),
            Effect::Ask { domain, bytes } => {
                let domain = (0..self.domains).find(|other| name(*other) == domain).expect("a domain of this world");
                if let Some(id) = self.links.of(index, domain) {
                    let at = self.now_us + 100 + self.random.below(800);
                    self.on_its_way(at, Carried::Question { id, bytes });
                }
            }
            Effect::Changed { origin, key, slot } => {
                let heard = self.nodes[index].hear(self.now_us, origin, key, slot.as_ref(), &self.said_us);
                if let Err((invariant, what)) = heard {
                    let at = self.now_us;
                    self.wrong.entry(invariant).or_insert_with(|| format!("at {at} us node {index}: {what}"));
                }
            }
            Effect::BegunAgain { incarnation } => {
                self.nodes[index].incarnation = incarnation;
                self.begun_again += 1;
            }
            Effect::Stood { .. } => {}
        }
    }

    fn send(&mut self, from: usize, to: To, bytes: &Arc<[u8]>) {
        let sent = &mut self.nodes[from].sent;
        sent.bytes += bytes.len() as u64;
        sent.datagrams += 1;
        sent.longest = sent.longest.max(bytes.len());
        let multicast = to == To::Group;
        if self.domains > 1 && matches!(decode(bytes).expect("our own").body, Body::Delta(_)) {
            self.deltas += 1;
        }
        for index in 0..self.nodes.len() {
            let is_meant = to == To::Group || to == To::Node(self.nodes[index].uid);
            if !is_meant || index == from || self.domain(index) != self.domain(from) || self.nodes[index].sync.is_none()
            {
                continue;
            }
            for delay in self.network.pass(&mut self.random, self.now_us, from, index, multicast) {
                let datagram = Carried::Datagram { to: index, from: self.nodes[from].uid, bytes: Arc::clone(bytes) };
                self.on_its_way(self.now_us + delay, datagram);
            }
        }
    }

    /// What one node holds of another, as numbers.
    pub fn held(&self, index: usize, of: Uid) -> BTreeMap<SlotKey, u64> {
        let Some(sync) = &self.nodes[index].sync else { return BTreeMap::new() };
        let slots = sync.slots(self.nodes[index].clock(self.now_us), of);
        slots.map(|(key, slot)| (key.clone(), number(&slot.value))).collect()
    }

    /// What a node says.
    pub fn own(&self, index: usize) -> BTreeMap<SlotKey, u64> {
        let slots = self.nodes[index].sync.iter().flat_map(|sync| sync.own_slots());
        slots.map(|(key, value)| (key.clone(), number(value))).collect()
    }

    /// Where replicas differ from what is said, and of nodes that are down from each other.
    pub fn difference(&self) -> Option<String> {
        self.difference_of(&self.up().into_iter().collect())
    }

    /// The same, of the replicas of these nodes.
    pub fn difference_of(&self, replicas: &BTreeSet<usize>) -> Option<String> {
        for (of, origin) in self.nodes.iter().enumerate() {
            let own = origin.sync.is_some().then(|| self.own(of));
            // What was said last by a node that is down can be known in one domain and not in another.
            let mut by_domain: BTreeMap<usize, BTreeMap<SlotKey, u64>> = BTreeMap::new();
            for index in replicas.iter().copied().filter(|index| *index != of) {
                let (held, domain) = (self.held(index, origin.uid), self.domain(index));
                let expected = by_domain.entry(domain).or_insert_with(|| match own.clone() {
                    Some(own) if domain == self.domain(of) => own,
                    Some(own) => own.into_iter().filter(|(key, _)| key.facet == Facet::Meta).collect(),
                    None => held.clone(),
                });
                let expected = &*expected;
                if held != *expected {
                    let lacking = expected.iter().find(|(key, number)| held.get(key) != Some(number));
                    let extra = held.iter().find(|(key, number)| expected.get(key) != Some(number));
                    return Some(format!("node {index} of {of}: lacks {lacking:?}, has {extra:?}"));
                }
            }
        }
        None
    }
}

/// One of the slots that nodes of these worlds have: state or measurements of an object, by one of two reporters.
pub fn key(slot: u64) -> SlotKey {
    let facet = if slot.is_multiple_of(3) { Facet::Stats } else { Facet::Meta };
    let reporter = if slot.is_multiple_of(2) { "hypervisor" } else { "network" };
    SlotKey { kind: Kind::System, uid: Uid::from_u128(u128::from(slot) + 1), reporter: reporter.into(), facet }
}
