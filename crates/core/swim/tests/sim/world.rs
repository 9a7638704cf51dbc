//! The world: who is where, what is on its way, what happens when.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Uid;
use acp_core_swim::{Effect, Output, State};
use acp_dev_dice::Random;

use crate::{
    hub::Hub,
    network::Network,
    node::{Node, Word, instant},
};

/// Microseconds since the world began.
pub(crate) type Us = u64;

pub(crate) const SECOND_US: Us = 1_000_000;

/// How often a node says something to the hub, whatever happens.
const KEEP_ALIVE_US: Us = SECOND_US / 2;

/// Datagrams a node may send in a second, with all copies. In peace it is some ten.
const RATE_MAX: u64 = 2_000;

/// How long TCP waits before it repeats for the first time; then twice as long each time.
const REPEAT_US: Us = SECOND_US / 5;

#[derive(Debug)]
enum Event {
    Datagram {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    Wake(usize),
    Thaw(usize),
    KeepAlive(usize),
    /// A node tries to send what waits for the hub.
    Link(usize),
    AtHub {
        node: usize,
        words: Vec<Word>,
    },
    /// The hub tries to get an answer from a node.
    Ask {
        node: usize,
        tries: u32,
    },
    Answer(usize),
    HubWake,
}

pub(crate) struct World {
    pub(crate) now: Us,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) hub: Hub,
    /// What is done wrong on purpose: each datagram is sent once, whatever the ring asks for.
    pub(crate) sends_once: bool,
    /// Who called whom dead in a ring although it ran.
    pub(crate) false_downs: Vec<(Us, Uid, Uid)>,
    /// Who suspected whom.
    pub(crate) suspicions: Vec<(Us, Uid, Uid)>,
    pub(crate) datagrams: u64,
    random: Random,
    events: BTreeMap<(Us, u64), Event>,
    number: u64,
    hub_wake_at: Us,
}

pub(crate) fn uid(index: usize) -> Uid {
    Uid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + index as u128)
}

impl World {
    /// So many nodes, who all know of each other, and some who are known to nobody: their rings contain everybody.
    pub(crate) fn with_strangers(seed: u64, count: usize, strangers: usize, network: Network) -> Self {
        let mut random = Random::new(seed);
        let members: BTreeSet<Uid> = (0..count).map(uid).collect();
        let mut effects = Vec::new();
        let hub = Hub::new(&members.iter().copied().collect::<Vec<_>>(), &mut effects);
        let set = |index| members.iter().copied().chain([uid(index)]).collect();
        let nodes =
            (0..count + strangers).map(|index| Node::new(uid(index), set(index), 1, random.number(), 0)).collect();
        let mut world = Self {
            now: 0,
            nodes,
            network,
            hub,
            sends_once: false,
            false_downs: Vec::new(),
            suspicions: Vec::new(),
            datagrams: 0,
            random,
            events: BTreeMap::new(),
            number: 0,
            hub_wake_at: Us::MAX,
        };
        (0..count + strangers).for_each(|index| world.begin(index));
        (0..count).for_each(|index| world.at(KEEP_ALIVE_US * index as u64 / count as u64, Event::KeepAlive(index)));
        world.obey(effects);
        world
    }

    pub(crate) fn new(seed: u64, count: usize, network: Network) -> Self {
        Self::with_strangers(seed, count, 0, network)
    }

    fn at(&mut self, time: Us, event: Event) {
        self.number += 1;
        self.events.insert((time, self.number), event);
    }

    pub(crate) fn run_for(&mut self, length: Us) {
        let end = self.now + length;
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _number), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    /// Runs until it is so, for at most `limit`; says how long it took.
    pub(crate) fn run_until(&mut self, limit: Us, mut is_so: impl FnMut(&Self) -> bool) -> Option<Us> {
        let begin = self.now;
        while self.now - begin < limit {
            if is_so(self) {
                return Some(self.now - begin);
            }
            self.run_for(SECOND_US / 20);
        }
        is_so(self).then_some(limit)
    }

    /// Whether all who run hold all who run for alive.
    pub(crate) fn is_whole(&self) -> bool {
        let runs = |node: &&Node| !node.crashed;
        self.nodes.iter().filter(runs).all(|node| {
            let others = self.nodes.iter().filter(runs).filter(|other| other.uid != node.uid);
            others.into_iter().all(|other| node.ring.state(other.uid) == Some(State::Alive))
        })
    }

    pub(crate) fn crash(&mut self, index: usize) {
        self.nodes[index].crashed = true;
    }

    /// Starts the node anew, with another incarnation; its old connection ends when the new one begins.
    pub(crate) fn restart(&mut self, index: usize, incarnation: u64) {
        let members = self.nodes[index].members.clone();
        self.nodes[index] = Node::new(uid(index), members, incarnation, self.random.number(), self.now);
        let mut effects = Vec::new();
        self.hub.end_session(self.now, index, uid(index), &mut effects);
        self.obey(effects);
        self.begin(index);
    }

    /// Tells a node's ring its set of members, which has changed.
    pub(crate) fn reset_members(&mut self, index: usize) {
        self.begin(index);
    }

    fn begin(&mut self, index: usize) {
        let mut out = Vec::new();
        self.nodes[index].start(self.now, &mut out);
        self.perform(index, out);
    }

    /// The process, or the whole host, does nothing for so long; what is sent to it waits.
    pub(crate) fn freeze(&mut self, index: usize, length: Us) {
        self.nodes[index].frozen_until = self.now + length;
        self.at(self.now + length, Event::Thaw(index));
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Datagram { from, to, bytes } => self.step(to, |node, out| node.receive(now, uid(from), bytes, out)),
            Event::Wake(index) if self.nodes[index].wake_at == now => {
                self.nodes[index].wake_at = Us::MAX;
                if self.nodes[index].runs(now) {
                    self.step(index, |node, out| node.ring.wake(instant(now), out));
                }
            }
            Event::Wake(_) => {}
            Event::Thaw(index) if self.nodes[index].runs(now) => self.step(index, |node, out| node.thaw(now, out)),
            Event::Thaw(_) => {}
            Event::KeepAlive(index) => self.keep_alive(index),
            Event::Link(index) => self.link(index),
            Event::AtHub { node, words } => self.at_hub(node, &words),
            Event::Ask { node, tries } => self.ask(node, tries),
            Event::Answer(index) => self.with_hub(|hub, effects| {
                hub.verdicts.confirmed(instant(now), uid(index), true, effects);
            }),
            Event::HubWake => {
                self.hub_wake_at = Us::MAX;
                self.with_hub(|hub, effects| hub.verdicts.wake(instant(now), effects));
                let deadline = self.hub.verdicts.next_deadline();
                assert!(deadline.is_none_or(|at| at > instant(now)), "the hub would wake for ever");
            }
        }
    }

    fn step(&mut self, index: usize, act: impl FnOnce(&mut Node, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.nodes[index], &mut out);
        self.perform(index, out);
    }

    fn perform(&mut self, index: usize, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { to, bytes, copies } => self.send(index, to, &bytes, copies),
                Output::Up { node, .. } => self.tell(index, node, State::Alive),
                Output::Suspected { node, .. } => {
                    self.suspicions.push((self.now, self.nodes[index].uid, node));
                    self.tell(index, node, State::Suspect);
                }
                Output::Down { node, .. } => {
                    let by = self.nodes[index].uid;
                    if self.nodes.iter().any(|other| other.uid == node && !other.crashed) {
                        self.false_downs.push((self.now, by, node));
                    }
                    self.tell(index, node, State::Down);
                }
            }
        }
        self.wake_later(index);
    }

    fn wake_later(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        assert_eq!(node.ring.faults(), 0, "foca is at odds with its driver");
        let Some(deadline) = node.ring.next_deadline() else { return };
        let at = deadline.as_nanos().div_ceil(1_000).max(self.now);
        if at < node.wake_at || node.wake_at < self.now {
            node.wake_at = at;
            self.at(at, Event::Wake(index));
        }
    }

    fn send(&mut self, from: usize, to: Uid, bytes: &[u8], copies: u8) {
        assert!(self.nodes[from].members.contains(&to), "{} sends to a stranger", self.nodes[from].uid);
        let to = self.nodes.iter().position(|node| node.uid == to).expect("all nodes are here");
        for _copy in 0..if self.sends_once { 1 } else { copies } {
            self.datagrams += 1;
            self.count_rate(from);
            if let Some(delay) = self.network.carry_datagram(self.now, from, to, &mut self.random) {
                self.at(self.now + delay, Event::Datagram { from, to, bytes: bytes.to_vec() });
            }
        }
    }

    fn count_rate(&mut self, from: usize) {
        let (second, count) = &mut self.nodes[from].rate;
        if *second != self.now / SECOND_US {
            (*second, *count) = (self.now / SECOND_US, 0);
        }
        *count += 1;
        assert!(*count <= RATE_MAX, "node {from} sends without end at {} us: {:?}", self.now, self.nodes[from].ring);
    }

    fn tell(&mut self, index: usize, node: Uid, state: State) {
        // A stranger has no session with the hub.
        if index < self.hub.count() {
            self.nodes[index].outbox.push(Word::Holds { node, state });
            self.begin_link(index);
        }
    }

    fn keep_alive(&mut self, index: usize) {
        self.at(self.now + KEEP_ALIVE_US, Event::KeepAlive(index));
        if self.nodes[index].runs(self.now) {
            self.nodes[index].outbox.push(Word::KeepAlive);
            self.begin_link(index);
        }
        let now = self.now;
        self.with_hub(|hub, effects| hub.look(now, index, uid(index), effects));
    }

    fn begin_link(&mut self, index: usize) {
        if self.nodes[index].tries.is_none() {
            self.nodes[index].tries = Some(0);
            self.at(self.now, Event::Link(index));
        }
    }

    /// What waits goes together, or waits together until TCP repeats.
    fn link(&mut self, index: usize) {
        let carried = self.network.carry_hub(self.now, index, &mut self.random);
        let node = &mut self.nodes[index];
        let Some(tries) = node.tries.filter(|_| !node.crashed) else { return };
        if let Some(delay) = carried {
            node.tries = None;
            let words = std::mem::take(&mut node.outbox);
            self.at(self.now + delay, Event::AtHub { node: index, words });
        } else {
            node.tries = Some(tries + 1);
            self.at(self.now + (REPEAT_US << tries.min(6)), Event::Link(index));
        }
    }

    fn at_hub(&mut self, index: usize, words: &[Word]) {
        let now = self.now;
        self.with_hub(|hub, effects| {
            words.iter().for_each(|word| hub.hear(now, index, uid(index), word, effects));
        });
    }

    fn ask(&mut self, index: usize, tries: u32) {
        let there = self.network.carry_hub(self.now, index, &mut self.random);
        let back = self.network.carry_hub(self.now, index, &mut self.random);
        match (there, back) {
            (Some(there), Some(back)) if self.nodes[index].runs(self.now) => {
                self.at(self.now + there + back, Event::Answer(index));
            }
            _ if tries < 3 => self.at(self.now + (REPEAT_US << tries), Event::Ask { node: index, tries: tries + 1 }),
            _ => {}
        }
    }

    fn with_hub(&mut self, act: impl FnOnce(&mut Hub, &mut Vec<Effect>)) {
        let mut effects = Vec::new();
        act(&mut self.hub, &mut effects);
        self.obey(effects);
    }

    fn obey(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Confirm(node) => {
                    self.hub.asked += 1;
                    let index = self.nodes.iter().position(|other| other.uid == node).expect("all nodes are here");
                    self.at(self.now, Event::Ask { node: index, tries: 0 });
                }
                Effect::Changed { node, to, .. } => self.hub.said.push((self.now, node, to)),
            }
        }
        let deadline =
            self.hub.verdicts.next_deadline().map_or(Us::MAX, |at| at.as_nanos().div_ceil(1_000).max(self.now));
        if deadline < self.hub_wake_at {
            self.hub_wake_at = deadline;
            self.at(deadline, Event::HubWake);
        }
    }
}
