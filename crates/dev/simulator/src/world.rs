//! The world: time goes on step by step, faults come and go, and everything that is awake does its part.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{EpochId, Uid, WallTime};
use acp_core_cdb::encode;
use acp_core_lease::{Fact, Sessions, Timing};
use acp_core_membership::voters::{Candidate, Step, View, plan};
use acp_wire_model::entry::{Action, Entry};

use crate::{
    dice::Dice,
    invariants::Witness,
    network::{Arrival, Message, Network},
    node::{NODES, Node, Seat, Waiting, name_of, uid_of},
    raft::{Body, Voter, replicate, stand},
    script::{anything, beginning},
};

/// One step, and how long a run is.
const STEP_MS: u64 = 100;
const RUN_MS: u64 = 48_000;
/// When faults end: what is left of the run has to suffice for everything to be well.
const CALM_MS: u64 = 30_000;
/// How long a voter that hears no leader waits before it stands, and how much more by chance.
const SILENCE_MS: u64 = 1_300;
/// How often a leader looks whether other voters are due, and a hypervisor what it has to run.
const LOOK_MS: u64 = 500;
/// How often a node renews.
const RENEWAL_MS: u64 = 2_000;
/// A node keeps an image in one of so many steps.
const SNAPSHOT_EACH: u64 = 40;

/// What a run has seen: one in which nothing happened proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// Entries applied in the end.
    pub entries: u64,
    /// Elections won.
    pub terms: u64,
    /// Sets of voters that were decided.
    pub voters: u64,
    /// Instants at which a guest ran, counted in steps.
    pub running: u64,
    /// Leases whose holder changed.
    pub grants: u64,
    /// Crashes and suspensions.
    pub faults: u64,
}

/// See the module.
#[derive(Debug)]
pub struct World {
    now: u64,
    dice: Dice,
    pub(crate) nodes: Vec<Node>,
    pub(crate) voters: Vec<Voter>,
    network: Network,
    learners: BTreeSet<usize>,
    pub(crate) summary: Summary,
}

impl World {
    /// Seven nodes, of which the first has founded the cluster alone.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let nodes = (0..NODES).map(|number| Node::new(number, 1_000 + dice.roll(1_000_000))).collect();
        let mut voters = vec![Voter::default(); NODES];
        voters[0]
            .log
            .push(std::sync::Arc::new(crate::raft::Item { term: 0, body: Body::Voters(vec![BTreeSet::from([0])]) }));
        let (network, learners) = (Network::default(), BTreeSet::new());
        Self { now: 0, dice, nodes, voters, network, learners, summary: Summary::default() }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Summary, String> {
        let mut witness = Witness::default();
        while self.now < RUN_MS {
            self.now += STEP_MS;
            self.disturb();
            self.elect();
            self.lead();
            self.spread();
            self.live();
            self.deliver();
            witness.look(&self, self.now).map_err(|broken| format!("after {} ms: {broken}", self.now))?;
        }
        witness.end(&self)?;
        self.summary.entries = self.nodes[0].state.index();
        self.summary.running = witness.running();
        self.summary.grants = self.nodes[0].state.leases().values().map(|lease| lease.term).max().unwrap_or_default();
        Ok(self.summary)
    }

    fn is_awake(&self, node: usize) -> bool {
        self.nodes[node].is_awake(self.now)
    }

    /// Those who hear it and are heard, itself among them.
    fn reached(&self, node: usize) -> BTreeSet<usize> {
        let joined = |other: &usize| *other == node || self.network.is_joined(node, *other);
        (0..NODES).filter(|other| self.is_awake(*other)).filter(joined).collect()
    }

    fn disturb(&mut self) {
        let now = self.now;
        if now >= CALM_MS {
            self.network.cuts.clear();
            self.network.loss = 0;
            for node in self.nodes.iter_mut().filter(|node| !node.is_up) {
                node.start(now);
            }
            return;
        }
        if self.dice.once_in(8) {
            self.fault();
        }
        for number in 0..NODES {
            if !self.nodes[number].is_up && self.dice.once_in(50) {
                self.nodes[number].start(now);
            }
            if self.is_awake(number) && self.dice.once_in(SNAPSHOT_EACH) {
                self.nodes[number].snapshot();
            }
        }
    }

    fn fault(&mut self) {
        let (now, node, other) = (self.now, self.dice.node(), self.dice.node());
        match self.dice.roll(8) {
            0 => {
                self.nodes[node].crash(now);
                (self.voters[node].leads, self.summary.faults) = (false, self.summary.faults + 1);
            }
            1 => {
                self.nodes[node].still_until_ms = now + self.dice.roll(15_000);
                self.summary.faults += 1;
            }
            2 => drop(self.network.cuts.insert((node, other))),
            3 | 4 => {
                let others = (0..NODES).filter(|other| *other != node);
                self.network.cuts.extend(others.flat_map(|other| [(node, other), (other, node)]));
            }
            5 => self.network.loss = self.dice.roll(40),
            _ => self.network.cuts.clear(),
        }
    }

    fn elect(&mut self) {
        for number in 0..NODES {
            self.voters[number].silent_ms += STEP_MS;
            let is_voter = self.voters[number].sets().iter().any(|set| set.contains(&number));
            let patience = SILENCE_MS + self.dice.roll(800);
            let is_due = is_voter && !self.voters[number].leads && self.voters[number].silent_ms > patience;
            if is_due && self.is_awake(number) {
                let reached = self.reached(number);
                self.summary.terms += u64::from(stand(&mut self.voters, number, &reached));
            }
        }
    }

    /// Everybody who believes to lead does what leaders do.
    fn lead(&mut self) {
        for number in 0..NODES {
            if !self.voters[number].leads {
                self.nodes[number].seat = None;
                continue;
            }
            if !self.is_awake(number) {
                continue;
            }
            let clock = self.nodes[number].clock(self.now);
            let reached = self.reached(number);
            let members: BTreeSet<usize> = self.voters[number].sets().iter().flatten().copied().collect();
            let followers =
                reached.iter().copied().filter(|other| members.contains(other) || self.learners.contains(other));
            let has_majority = replicate(&mut self.voters, number, &followers.collect());
            self.nodes[number].apply(&self.voters[number]);
            if !self.voters[number].is_settled() {
                continue;
            }
            let term = self.voters[number].term;
            let is_new = self.nodes[number].seat.as_ref().is_none_or(|seat| seat.term != term);
            if is_new {
                let sessions = Sessions::new_leader(clock, Timing::DEFAULT);
                let (waiting, acts) = (Vec::new(), Vec::new());
                self.nodes[number].seat = Some(Seat { term, sessions, confirmed: clock, waiting, acts });
            }
            if let Some(seat) = self.nodes[number].seat.as_mut().filter(|_seat| has_majority) {
                seat.confirmed = clock;
            }
            self.propose(number);
        }
    }

    /// A batch: what founds the cluster, or what leases need, or a change of voters, or something that somebody asks for.
    fn propose(&mut self, number: usize) {
        let mut actions = Vec::new();
        if self.nodes[number].state.index() == 0 {
            actions = beginning();
        } else {
            actions.extend(self.lease_acts(number));
            if let Some(sets) = self.next_voters(number) {
                self.voters[number].append(Body::Voters(sets));
                return;
            }
            if self.now < CALM_MS && self.dice.once_in(5) {
                let epoch = self.nodes[number].state.epoch().expect("founded");
                actions.push(anything(&mut self.dice, epoch));
            }
        }
        let first_epoch = EpochId { number: 1, id: Uid::from_u128(5 << 64) };
        let mut epoch = self.nodes[number].state.epoch().unwrap_or(first_epoch);
        for (index, action) in (self.nodes[number].state.index() + 1..).zip(actions) {
            let next = if let Action::Horizon { epoch, .. } = &action { Some(*epoch) } else { None };
            let (actor, request, time) = ("simulator".to_owned(), String::new(), WallTime(self.now));
            self.voters[number].append(Body::Entry(encode(&Entry { index, epoch, time, actor, request, action })));
            epoch = next.unwrap_or(epoch);
        }
    }

    fn lease_acts(&mut self, number: usize) -> Vec<Action> {
        let clock = self.nodes[number].clock(self.now);
        let node = &mut self.nodes[number];
        let Some(seat) = &mut node.seat else { return Vec::new() };
        let facts: Vec<(Uid, Fact)> = node.state.leases().iter().map(|(uid, lease)| (*uid, fact(*lease))).collect();
        let mut acts = std::mem::take(&mut seat.acts);
        acts.extend(seat.sessions.expired(clock, facts));
        acts.into_iter().map(|(system, act)| Action::Lease { system, act }).collect()
    }

    /// The next sets of voters by the policy; a joint set is followed by its second part.
    fn next_voters(&mut self, leader: usize) -> Option<Vec<BTreeSet<usize>>> {
        let sets = self.voters[leader].sets().to_vec();
        if let [_old, new] = sets.as_slice() {
            self.summary.voters += 1;
            return Some(vec![new.clone()]);
        }
        if !self.now.is_multiple_of(LOOK_MS) {
            return None;
        }
        let reached = self.reached(leader);
        let parked: BTreeSet<Uid> = self.nodes[leader]
            .state
            .directory()?
            .nodes
            .iter()
            .filter(|node| node.parked)
            .map(|node| node.uid)
            .collect();
        let candidate = |number: usize| Candidate {
            parked: parked.contains(&uid_of(number)),
            online: reached.contains(&number),
            for_ms: self.now - self.nodes[number].since_ms,
            prepared: true,
        };
        let view = View {
            wanted: 5,
            leader: uid_of(leader),
            members: (0..NODES).map(|number| (uid_of(number), candidate(number))).collect(),
            voters: sets[0].iter().map(|number| uid_of(*number)).collect(),
            forgetful: BTreeSet::new(),
            learners: self.learners.iter().map(|number| (uid_of(*number), 0)).collect(),
        };
        let numbered = |uid: &Uid| (0..NODES).find(|number| uid_of(*number) == *uid);
        match plan(&view) {
            Step::Nothing | Step::Prepare(_) => None,
            Step::AddLearner(uid) => {
                self.learners.extend(numbered(&uid));
                None
            }
            Step::Dismiss(uid) => {
                self.learners.retain(|number| uid_of(*number) != uid);
                None
            }
            Step::SetVoters(new) => Some(vec![sets[0].clone(), new.iter().filter_map(numbered).collect()]),
        }
    }

    /// Everybody gets what is committed from whomever it reaches that has more, and applies it.
    fn spread(&mut self) {
        for number in 0..NODES {
            if !self.is_awake(number) {
                continue;
            }
            let furthest = self.reached(number).into_iter().max_by_key(|other| self.voters[*other].committed);
            let ahead = furthest.filter(|other| self.voters[*other].committed > self.voters[number].committed);
            if let Some(other) = ahead {
                let source = self.voters[other].clone();
                self.voters[number].follow(&source);
            }
            let voter = &self.voters[number];
            self.nodes[number].apply(voter);
        }
    }

    /// Hypervisors: timers first, then what they want, then a renewal now and then.
    fn live(&mut self) {
        for number in 0..NODES {
            if !self.is_awake(number) {
                continue;
            }
            let clock = self.nodes[number].clock(self.now);
            self.nodes[number].fire(self.now);
            if self.now.is_multiple_of(LOOK_MS) {
                self.nodes[number].intend();
            }
            let due = self.nodes[number].claims.due(clock);
            self.nodes[number].hear(due, self.now);
            let is_due = (self.now / STEP_MS + number as u64).is_multiple_of(RENEWAL_MS / STEP_MS);
            if is_due && !self.nodes[number].claims.is_empty() {
                let incarnation = self.nodes[number].incarnation;
                let request = self.nodes[number].claims.request(incarnation, clock);
                self.nodes[number].request += 1;
                let message = Message::Renew { request, number: self.nodes[number].request };
                // To whom it takes for the leader, which may be wrong.
                let leaders: Vec<usize> = (0..NODES).filter(|other| self.voters[*other].leads).collect();
                if let Some(to) = self.dice.pick(&leaders) {
                    self.network.send(self.now, &mut self.dice, Arrival { from: number, to, message });
                }
            }
        }
    }

    fn deliver(&mut self) {
        for Arrival { from, to, message } in self.network.arrived(self.now) {
            if !self.is_awake(to) {
                continue;
            }
            match message {
                Message::Renew { request, number } => self.renew(from, to, &request, number),
                Message::Renewed { reply, number } if number == self.nodes[to].request => {
                    let clock = self.nodes[to].clock(self.now);
                    let news = self.nodes[to].claims.answered(&reply, clock).unwrap_or_default();
                    self.nodes[to].hear(news, self.now);
                }
                Message::Renewed { .. } => {}
            }
        }
        for number in 0..NODES {
            self.answer(number);
        }
    }

    fn renew(&mut self, from: usize, to: usize, request: &acp_wire_api::hub::RenewSessionRequest, number: u64) {
        let clock = self.nodes[to].clock(self.now);
        let node = &mut self.nodes[to];
        let Some(seat) = &mut node.seat else { return };
        let facts: BTreeMap<Uid, Fact> =
            node.state.leases().iter().map(|(system, lease)| (*system, fact(*lease))).collect();
        let confirmed = seat.confirmed;
        let renewed =
            seat.sessions.renew(uid_of(from), request, clock, confirmed, |system| facts.get(&system).copied());
        if let Ok(renewal) = renewed {
            seat.acts.extend(renewal.acts().iter().cloned());
            // What is ordered next is applied after what is in the log now.
            let index = node.state.index() + renewal.acts().len() as u64;
            seat.waiting.push(Waiting { to: from, number, renewal, index });
        }
    }

    fn answer(&mut self, number: usize) {
        if !self.is_awake(number) {
            return;
        }
        let node = &mut self.nodes[number];
        let Some(seat) = &mut node.seat else { return };
        let (ready, waiting) = std::mem::take(&mut seat.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|waiting| node.state.index() >= waiting.index);
        seat.waiting = waiting;
        for Waiting { to, number: request, renewal, .. } in ready {
            let reply = renewal.reply(
                |system| node.state.lease(system).map(fact),
                |holder| (0..NODES).find(|other| uid_of(*other) == holder).map(name_of).unwrap_or_default(),
            );
            let message = Message::Renewed { reply, number: request };
            self.network.send(self.now, &mut self.dice, Arrival { from: number, to, message });
        }
    }
}

fn fact(lease: acp_core_cdb::LeaseRecord) -> Fact {
    Fact { holder: lease.holder, term: lease.term }
}
