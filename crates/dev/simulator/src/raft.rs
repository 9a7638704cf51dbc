//! A model of Raft: terms, votes, logs with tails that were never committed, and changes of voters through a joint set. A round of
//! questions and answers takes no time; who does not answer is cut off, down or standing still.

use std::{collections::BTreeSet, sync::Arc};

/// How long a voter that has heard its leader helps nobody else to become one.
const LEASE_MS: u64 = 1_000;

/// What stands in a place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A new leader's first word.
    Nothing,
    /// An entry of ours.
    Entry(Vec<u8>),
    /// From here on decisions need a majority of each of these sets.
    Voters(Vec<BTreeSet<usize>>),
}

/// A place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The leader's term.
    pub term: u64,
    /// What it holds.
    pub body: Body,
}

/// What a voter keeps on its disk.
#[derive(Clone, Debug, Default)]
pub struct Voter {
    /// The newest term that it knows.
    pub term: u64,
    /// For whom it has voted in it.
    pub voted: Option<usize>,
    /// The log.
    pub log: Vec<Arc<Item>>,
    /// How much of the log it knows to be committed.
    pub committed: usize,
    /// Whether it leads its term, as far as it knows.
    pub leads: bool,
    /// How many milliseconds it has heard no leader.
    pub silent_ms: u64,
}

/// Whether these are a majority of each set.
pub fn is_majority(sets: &[BTreeSet<usize>], present: &BTreeSet<usize>) -> bool {
    !sets.is_empty() && sets.iter().all(|set| 2 * set.intersection(present).count() > set.len())
}

impl Voter {
    /// The sets that decide, as its log has them.
    pub fn sets(&self) -> &[BTreeSet<usize>] {
        let sets = self.log.iter().rev().find_map(|item| match &item.body {
            Body::Voters(sets) => Some(sets.as_slice()),
            Body::Nothing | Body::Entry(_) => None,
        });
        sets.unwrap_or_default()
    }

    fn position(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |item| item.term), self.log.len())
    }

    /// Whether everything in its log is committed, the last of it by itself.
    pub fn is_settled(&self) -> bool {
        self.leads && self.committed == self.log.len() && self.position().0 == self.term
    }

    /// Takes over what another one knows to be committed.
    pub fn follow(&mut self, source: &Self) {
        let committed = &source.log[..source.committed];
        let term = committed.last().map_or(0, |item| item.term);
        if term > self.term {
            (self.term, self.voted, self.leads) = (term, None, false);
        }
        if committed.len() >= self.log.len() {
            self.log = committed.to_vec();
        }
        if is_same(&self.log[..committed.len()], committed) {
            self.committed = self.committed.max(committed.len());
        }
    }

    /// Appends to the log of a leader.
    pub fn append(&mut self, body: Body) {
        self.log.push(Arc::new(Item { term: self.term, body }));
    }
}

/// One stands for election: asks those whom it reaches, itself among them. Answers whether it won.
pub fn stand(voters: &mut [Voter], candidate: usize, reached: &BTreeSet<usize>) -> bool {
    let position = voters[candidate].position();
    let term = voters[candidate].term + 1;
    let sets = voters[candidate].sets().to_vec();
    // Asked first whether they would: who hears a leader says no, and a term is begun only with a majority.
    let hears_nobody = |other: &usize| *other == candidate || voters[*other].silent_ms >= LEASE_MS;
    let is_newer = |other: &usize| voters[*other].position() <= position && voters[*other].term < term;
    let would = |other: &usize| hears_nobody(other) && is_newer(other);
    let friends: BTreeSet<usize> = reached.iter().copied().filter(would).collect();
    if !is_majority(&sets, &friends) {
        return false;
    }
    for friend in &friends {
        (voters[*friend].term, voters[*friend].voted, voters[*friend].leads) = (term, Some(candidate), false);
        voters[*friend].silent_ms = 0;
    }
    voters[candidate].leads = true;
    voters[candidate].append(Body::Nothing);
    true
}

/// Logs of the same length with the same last item are the same: each index has one item in a term.
fn is_same(one: &[Arc<Item>], other: &[Arc<Item>]) -> bool {
    let are_same = |(one, other): (&Arc<Item>, &Arc<Item>)| Arc::ptr_eq(one, other);
    one.len() == other.len() && one.last().zip(other.last()).is_some_and(are_same)
}

/// A leader sends its log to those whom it reaches. Answers whether a majority has taken it.
pub fn replicate(voters: &mut [Voter], leader: usize, reached: &BTreeSet<usize>) -> bool {
    let term = voters[leader].term;
    if reached.iter().any(|other| voters[*other].term > term) {
        voters[leader].leads = false;
        return false;
    }
    let log = std::mem::take(&mut voters[leader].log);
    for other in reached {
        let voter = &mut voters[*other];
        (voter.term, voter.silent_ms, voter.leads) = (term, 0, *other == leader);
        if !is_same(&voter.log, &log) {
            voter.log.clone_from(&log);
        }
    }
    let (is_own, length) = (log.last().is_some_and(|item| item.term == term), log.len());
    voters[leader].log = log;
    if !is_majority(voters[leader].sets(), reached) {
        return false;
    }
    // What earlier leaders have left is committed with the first word of this one.
    if is_own {
        for other in reached {
            voters[*other].committed = length;
        }
    }
    true
}
