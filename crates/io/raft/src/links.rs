//! Whom this node has heard, and when: what elections, the way out and the status share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::Uid;
use tokio::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<Heard>);

/// What is known of the others.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// This node's group.
    pub(crate) group: Option<Uid>,
    /// Whether this node came to its group as a learner and no leader has called it a voter since. The log that it is given may
    /// tell of a time at which it was one, even the only one, before it lost that log: by this it must not vote or lead.
    pub(crate) learns: bool,
    /// The sets of voters whose majorities decide: one, or two while they change.
    pub(crate) configs: Vec<BTreeSet<Uid>>,
    /// Learners of the group as this node knows it.
    pub(crate) learners: BTreeSet<Uid>,
    /// When each other node last answered this one.
    pub(crate) peers: BTreeMap<Uid, Instant>,
    /// When a leader last spoke to this node.
    pub(crate) leader: Option<Instant>,
    /// When a majority acknowledged that leader, as it said.
    pub(crate) quorum: Option<Instant>,
    /// A leader without a majority, or one that gives way, is silent: nothing it would say reaches the others.
    pub(crate) silent: bool,
}

impl Links {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// Whether a leader spoke within the lease.
    pub(crate) fn hears_leader(&self, lease: Duration) -> bool {
        self.leader.is_some_and(|heard| heard.elapsed() < lease)
    }

    pub(crate) fn heard_leader(&mut self, quorum_age_ms: Option<u64>) {
        let now = Instant::now();
        self.leader = Some(now);
        let quorum = quorum_age_ms.and_then(|age| now.checked_sub(Duration::from_millis(age)));
        self.quorum = self.quorum.max(quorum);
    }

    /// When this node last heard a majority of the voters, itself among them always; `None` if never.
    pub(crate) fn majority(&self, me: Uid) -> Option<Instant> {
        let now = Instant::now();
        self.configs.iter().map(|voters| self.majority_of(me, voters, now)).min().flatten()
    }

    /// Whether these nodes are a majority of the voters.
    pub(crate) fn is_majority(&self, granted: &BTreeSet<Uid>) -> bool {
        let outvote = |voters: &BTreeSet<Uid>| voters.intersection(granted).count() > voters.len() / 2;
        !self.configs.is_empty() && self.configs.iter().all(outvote)
    }

    fn majority_of(&self, me: Uid, voters: &BTreeSet<Uid>, now: Instant) -> Option<Instant> {
        let heard = |voter: &Uid| if *voter == me { Some(now) } else { self.peers.get(voter).copied() };
        let mut heard: Vec<Option<Instant>> = voters.iter().map(heard).collect();
        heard.sort_unstable_by(|one, other| other.cmp(one));
        heard.get(voters.len() / 2).copied().flatten()
    }
}
