//! A node: its replica, its hypervisor with the guests, and the table of sessions while it leads.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::{BootInstant, Uid};
use acp_core_cdb::{Hash, State};
use acp_core_lease::{Claims, DeadMan, Deadlines, Due, News, Renewal, Sessions};
use acp_wire_model::{Kind, entry::LeaseAct};

use crate::raft::{Body, Voter};

/// How many nodes there are.
pub(crate) const NODES: usize = 7;

/// A node's id.
pub(crate) fn uid_of(node: usize) -> Uid {
    Uid::from_u128(node as u128 + 1)
}

/// A node's name.
pub(crate) fn name_of(node: usize) -> String {
    format!("n{}", node + 1)
}

/// A renewal that waits until what it needs is applied.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) to: usize,
    pub(crate) number: u64,
    pub(crate) renewal: Renewal,
    /// The index that answers it.
    pub(crate) index: u64,
}

/// What a leader has in its memory.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) term: u64,
    pub(crate) sessions: Sessions,
    pub(crate) confirmed: BootInstant,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) acts: Vec<(Uid, LeaseAct)>,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its number.
    pub(crate) number: usize,
    /// What it has applied.
    pub(crate) state: State,
    /// Places of the voters' log that are applied.
    pub(crate) applied: usize,
    /// The chain's hash after each index, since the image it began with.
    pub(crate) chain: BTreeMap<u64, Hash>,
    /// An image of earlier, and how many places of the voters' log it holds.
    pub(crate) image: Option<(Vec<u8>, usize)>,
    /// Its clock is ahead of the world's by this.
    pub(crate) ahead_ms: u64,
    pub(crate) is_up: bool,
    /// Until when it stands still.
    pub(crate) still_until_ms: u64,
    /// Since when it is as it is, up or not.
    pub(crate) since_ms: u64,
    pub(crate) claims: Claims,
    pub(crate) guests: BTreeMap<Uid, DeadMan>,
    pub(crate) incarnation: u64,
    pub(crate) request: u64,
    pub(crate) seat: Option<Seat>,
}

impl Node {
    pub(crate) fn new(number: usize, ahead_ms: u64) -> Self {
        Self {
            number,
            state: State::default(),
            applied: 0,
            chain: BTreeMap::new(),
            image: None,
            ahead_ms,
            is_up: true,
            still_until_ms: 0,
            since_ms: 0,
            claims: Claims::default(),
            guests: BTreeMap::new(),
            incarnation: 1,
            request: 0,
            seat: None,
        }
    }

    /// Its own clock.
    pub(crate) fn clock(&self, now: u64) -> BootInstant {
        BootInstant::from_millis(now + self.ahead_ms)
    }

    /// Whether it does anything.
    pub(crate) fn is_awake(&self, now: u64) -> bool {
        self.is_up && now >= self.still_until_ms
    }

    /// The systems whose processors run.
    pub(crate) fn running(&self, now: u64) -> impl Iterator<Item = Uid> {
        let (clock, is_awake) = (self.clock(now), self.is_awake(now));
        let runs = move |timer: &DeadMan| is_awake && { *timer }.due(clock) == Due::Run;
        self.guests.iter().filter(move |(_, timer)| runs(timer)).map(|(system, _)| *system)
    }

    /// Timers, which nothing but a machine that stands still holds up.
    pub(crate) fn fire(&mut self, now: u64) {
        let clock = self.clock(now);
        self.guests.retain(|_system, timer| timer.due(clock) != Due::Kill);
    }

    /// Applies what is committed.
    pub(crate) fn apply(&mut self, voter: &Voter) {
        for item in voter.log.iter().take(voter.committed).skip(self.applied) {
            if let Body::Entry(bytes) = &item.body {
                self.take(bytes);
            }
        }
        self.applied = self.applied.max(voter.committed);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.state.apply(bytes);
        self.chain.insert(self.state.index(), self.state.hash());
    }

    /// Keeps an image.
    pub(crate) fn snapshot(&mut self) {
        if let Some(image) = self.state.image() {
            self.image = Some((image.encode(), self.applied));
        }
    }

    /// Everything in memory is gone; what it kept comes back when it starts.
    pub(crate) fn crash(&mut self, now: u64) {
        (self.is_up, self.since_ms, self.seat) = (false, now, None);
        self.guests.clear();
        self.claims = Claims::default();
        self.incarnation += 1;
    }

    /// Starts on its last image.
    pub(crate) fn start(&mut self, now: u64) {
        (self.is_up, self.since_ms) = (true, now);
        let kept = self.image.clone().map(|(bytes, applied)| (State::restore(&bytes).expect("its own image"), applied));
        (self.state, self.applied) = kept.unwrap_or_default();
        self.chain.clear();
        self.chain.insert(self.state.index(), self.state.hash());
    }

    /// The floating systems that the log puts here are wanted, others given back once they do not run.
    pub(crate) fn intend(&mut self) {
        let floating = self.state.objects(Kind::System).filter(|record| record.value["floating"] == true);
        let own = floating.filter(|record| record.value["node"] == name_of(self.number));
        let wanted: BTreeSet<Uid> = own.map(|record| record.uid).collect();
        for system in &wanted {
            self.claims.want(*system);
        }
        let gone: Vec<Uid> = self.guests.keys().copied().filter(|system| !wanted.contains(system)).collect();
        for system in gone {
            self.guests.remove(&system);
            self.claims.release(system);
        }
    }

    /// Acts on what the leader said, or did not say.
    pub(crate) fn hear(&mut self, news: Vec<News>, now: u64) {
        let clock = self.clock(now);
        for one in news {
            match one {
                News::Extended { system, deadlines } => self.let_run(system, deadlines, clock),
                News::Refused { system, deadlines: Some(deadlines), .. } => self.shorten(system, deadlines),
                News::Refused { .. } => {}
                News::Lost { system, .. } => drop(self.guests.remove(&system)),
            }
        }
    }

    fn let_run(&mut self, system: Uid, deadlines: Deadlines, clock: BootInstant) {
        if deadlines.due(clock) == Due::Run {
            let timer = self.guests.entry(system).or_insert_with(|| DeadMan::resumed(deadlines));
            // A guest that runs under a newer term goes on under that one.
            timer.extend(deadlines).ok();
        }
    }

    fn shorten(&mut self, system: Uid, deadlines: Deadlines) {
        if let Some(timer) = self.guests.get_mut(&system) {
            timer.extend(deadlines).ok();
        }
    }
}
