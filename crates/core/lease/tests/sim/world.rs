//! The world: who is where, which messages are on their way, what goes wrong.

use acp_base::Uid;
use acp_core_lease::Renewal;
use acp_dev_dice::Random;
use acp_wire_api::hub::{RenewSessionReply, RenewSessionRequest};
use acp_wire_model::entry::LeaseAct;

use crate::{
    clock::{Clock, STEP_MS},
    leader::{Leader, Log},
    node::Node,
};

const NODES: usize = 4;
const SYSTEMS: u64 = 3;

/// How long a world lasts.
const LENGTH_MS: u64 = 120_000;

/// How long a message may take.
const DELAY_MS: u64 = 3_000;

/// How often a node renews; a reply that has not come by then does not count.
const RENEWAL_MS: u64 = 2_000;

/// What is done wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    Nothing,
    GrantsAfterThreeSeconds,
    CountsFromReply,
    AnswersUnconfirmed,
    NewLeaderExtendsNothing,
    OrdersForTheDeposed,
}

#[derive(Debug)]
enum Event {
    Request {
        node: usize,
        number: u64,
        request: RenewSessionRequest,
    },
    Reply {
        node: usize,
        number: u64,
        reply: RenewSessionReply,
    },
    /// What a leader proposed reaches a majority, or not.
    Ordered {
        by: u64,
        system: Uid,
        act: LeaseAct,
    },
    /// The leader answers from what it has applied by now.
    Answer {
        by: u64,
        node: usize,
        number: u64,
        renewal: Renewal,
    },
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) time_ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) log: Log,
    /// Who believes to lead; the last is the one who does.
    leaders: Vec<Leader>,
    events: Vec<(u64, Event)>,
    random: Random,
    mistake: Mistake,
    /// How often a system went from one node to another.
    pub(crate) moves: u64,
}

impl World {
    pub(crate) fn new(seed: u64, mistake: Mistake) -> Self {
        let mut random = Random::new(seed);
        let mut clock = || Clock { offset_ms: 10_000 + random.below(86_400_000) };
        let nodes = (0..NODES)
            .map(|index| Node::new(Uid::from_u128(100 + index as u128), clock(), mistake == Mistake::CountsFromReply))
            .collect();
        let leader = Leader::elected(1, clock(), 0, Log::default(), mistake);
        Self {
            time_ms: 0,
            nodes,
            log: Log::default(),
            leaders: vec![leader],
            events: Vec::new(),
            random,
            mistake,
            moves: 0,
        }
    }

    /// Lives to its end; `look` sees it after each step and says what is wrong.
    pub(crate) fn live(&mut self, mut look: impl FnMut(&Self) -> Result<(), String>) -> Result<(), String> {
        while self.time_ms < LENGTH_MS {
            self.time_ms += STEP_MS;
            self.step();
            look(self)?;
        }
        Ok(())
    }

    fn step(&mut self) {
        for node in &mut self.nodes {
            node.fire(self.time_ms);
        }
        self.disturb();
        self.lead();
        let (due, later) = std::mem::take(&mut self.events).into_iter().partition(|(at, _event)| *at <= self.time_ms);
        self.events = later;
        for (_at, event) in due {
            self.happen(event);
        }
        self.renew();
        for node in &mut self.nodes {
            node.fire(self.time_ms);
        }
    }

    /// What operators and fate do.
    fn disturb(&mut self) {
        let time_ms = self.time_ms;
        let node = self.random.index(NODES);
        let system = Uid::from_u128(1 + u128::from(self.random.below(SYSTEMS)));
        let awake = self.nodes[node].is_awake(time_ms);
        if awake && self.random.once_in(100) {
            self.nodes[node].start(system);
        } else if awake && self.random.once_in(300) {
            self.nodes[node].stop(system);
        } else if awake && self.random.once_in(1_500) {
            self.nodes[node].restart();
        } else if self.random.once_in(2_000) {
            self.nodes[node].frozen_until_ms = time_ms + self.random.below(20_000);
        } else if self.random.once_in(2_000) {
            self.nodes[node].suspended_until_ms = time_ms + self.random.below(20_000);
        } else if self.random.once_in(1_000) {
            self.elect();
        }
    }

    /// What the last leader proposed and a majority has not got stands before its successor answers anybody, or never.
    fn elect(&mut self) {
        if self.mistake != Mistake::OrdersForTheDeposed {
            let (ordered, others) = std::mem::take(&mut self.events)
                .into_iter()
                .partition(|(_at, event)| matches!(event, Event::Ordered { .. }));
            self.events = others;
            for (_at, event) in ordered {
                if self.random.once_in(2) {
                    self.happen(event);
                }
            }
        }
        let number = self.leaders.last().map_or(0, |leader| leader.number) + 1;
        let clock = Clock { offset_ms: 10_000 + self.random.below(86_400_000) };
        self.leaders.push(Leader::elected(number, clock, self.time_ms, self.log.clone(), self.mistake));
    }

    fn lead(&mut self) {
        let time_ms = self.time_ms;
        // Deposed leaders learn it in their own time.
        if self.leaders.len() > 1 && self.random.once_in(600) {
            self.leaders.remove(0);
        }
        if let Some(leader) = self.leaders.last_mut().filter(|_| time_ms.is_multiple_of(500)) {
            leader.confirm(time_ms);
        }
        if time_ms.is_multiple_of(200) {
            let mut acts = Vec::new();
            for leader in &mut self.leaders {
                acts.extend(leader.expired(time_ms).into_iter().map(|(system, act)| (leader.number, system, act)));
            }
            for (by, system, act) in acts {
                self.propose(by, system, act);
            }
        }
    }

    fn propose(&mut self, by: u64, system: Uid, act: LeaseAct) {
        let at = self.time_ms + self.random.below(1_000);
        self.events.push((at, Event::Ordered { by, system, act }));
    }

    /// Sends a message: it may be lost, late, or come twice.
    fn send(&mut self, event: impl Fn() -> Event) {
        for _copy in 0..1 + u64::from(self.random.once_in(5)) {
            let delay = if self.random.once_in(3) { self.random.below(DELAY_MS) } else { self.random.below(50) };
            if !self.random.once_in(6) {
                self.events.push((self.time_ms + delay, event()));
            }
        }
    }

    fn renew(&mut self) {
        for node in 0..NODES {
            if (self.time_ms + 500 * node as u64).is_multiple_of(RENEWAL_MS) && self.nodes[node].is_awake(self.time_ms)
            {
                let (number, request) = self.nodes[node].renew(self.time_ms);
                self.send(|| Event::Request { node, number, request: request.clone() });
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request { node, number, request } => self.asked(node, number, &request),
            Event::Reply { node, number, reply } if self.nodes[node].is_awake(self.time_ms) => {
                self.nodes[node].hear(number, &reply, self.time_ms);
            }
            // Who is away reads it afterwards.
            Event::Reply { .. } => self.events.push((self.time_ms + STEP_MS, event)),
            Event::Ordered { by, system, act } => self.ordered(by, system, &act),
            Event::Answer { by, node, number, renewal } => self.answer(by, node, number, &renewal),
        }
    }

    /// Any who believes to lead may be the one who is asked.
    fn asked(&mut self, node: usize, number: u64, request: &RenewSessionRequest) {
        let index = self.random.index(self.leaders.len());
        let (uid, leader) = (self.nodes[node].uid, &mut self.leaders[index]);
        let by = leader.number;
        let Some(renewal) = leader.take(uid, request, self.time_ms) else { return };
        for (system, act) in renewal.acts().to_vec() {
            self.propose(by, system, act);
        }
        let wait = if renewal.acts().is_empty() { 0 } else { self.random.below(1_200) };
        self.events.push((self.time_ms + wait, Event::Answer { by, node, number, renewal }));
    }

    fn answer(&mut self, by: u64, node: usize, number: u64, renewal: &Renewal) {
        if let Some(leader) = self.leaders.iter().find(|leader| leader.number == by) {
            let reply = leader.answer(renewal);
            self.send(|| Event::Reply { node, number, reply: reply.clone() });
        }
    }

    /// What a deposed leader proposes does not come to stand.
    fn ordered(&mut self, by: u64, system: Uid, act: &LeaseAct) {
        let leads = self.leaders.last().is_some_and(|leader| leader.number == by);
        if !leads && self.mistake != Mistake::OrdersForTheDeposed {
            return;
        }
        let before = self.log.fact(system);
        self.log.apply(system, act);
        let after = self.log.fact(system);
        if after != before
            && let LeaseAct::Grant { .. } = act
            && before.is_some_and(|fact| fact.holder.is_none())
        {
            self.moves += 1;
        }
        let log = self.log.clone();
        if let Some(leader) = self.leaders.last_mut() {
            leader.view = log;
        }
    }
}
