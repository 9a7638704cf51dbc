//! When this node stands for election, and when it stops to lead.
//!
//! Openraft 0.9 has a lease (a voter that hears its leader grants no vote) but asks nobody before it begins a term, so a voter
//! that comes back from behind a cut would depose a leader who does well; and its leader never gives up by itself, so one that
//! is heard but hears nothing would be followed for ever. Both are decided here, and openraft's own timer is off:
//!
//! - **Poll first.** A voter without a leader asks the others whether they would vote for it. Only with a majority of such
//!   answers does it begin a term. Who hears a leader, leads, or has a longer log says no. A poll changes nothing.
//! - **A leader without a majority falls silent**, and so does one whose disk hangs: it could acknowledge nothing. Nothing it
//!   says reaches the others from then on, so that they can elect somebody; it speaks again when its disk works and it wins a
//!   poll itself, or is deposed by the new leader.
//!
//! **Invariant**: safety rests on openraft alone; whatever is decided here costs time at worst.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use acp_base::Uid;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use openraft::ServerState;
use tokio::time::{Instant, sleep};

use crate::{
    frame::{Answer, Question},
    links::{Heard, Links},
    network::Network,
    options::Options,
    store::Log,
    types::{Core, LogId},
};

/// The node's elections, for as long as one core runs.
pub(crate) struct Elector {
    pub(crate) core: Core,
    pub(crate) network: Network,
    pub(crate) log: Log,
    me: Uid,
    lease: Duration,
    look: Duration,
    dice: u64,
    /// When to stand, unless a leader is heard before.
    deadline: Instant,
    /// Since when this node leads; a new leader has heard nobody yet.
    leads_since: Option<Instant>,
}

impl Elector {
    pub(crate) fn new(core: Core, network: Network, log: Log, options: &Options) -> Self {
        let me = options.node;
        let seed = me.as_u128();
        let mut elector = Self {
            core,
            network,
            log,
            me,
            lease: options.lease,
            look: options.heartbeat / 4,
            dice: u64::try_from(seed >> 64).unwrap_or(0) ^ u64::try_from(seed & u128::from(u64::MAX)).unwrap_or(0),
            deadline: Instant::now(),
            leads_since: None,
        };
        elector.deadline = Instant::now() + elector.patience(1.3);
        elector
    }

    /// Decides until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            if self.step().await.is_err() {
                // The core has ended; whoever runs this sees that, too.
                return;
            }
            sleep(self.look).await;
        }
    }

    async fn step(&mut self) -> Result<(), openraft::error::Fatal<crate::types::Voter>> {
        let state = self.core.metrics().borrow().state;
        let leads = state == ServerState::Leader;
        self.leads_since = if leads { self.leads_since.or_else(|| Some(Instant::now())) } else { None };
        let (is_voter, is_alone) = {
            let heard = self.links().lock();
            let is_voter = !heard.learns && heard.configs.iter().any(|voters| voters.contains(&self.me));
            (is_voter, is_voter && heard.configs.iter().all(|voters| voters.len() == 1))
        };
        if is_alone {
            self.links().lock().silent = false;
            return if leads || state == ServerState::Candidate { Ok(()) } else { self.core.trigger().elect().await };
        }
        if !is_voter {
            self.deadline = Instant::now() + self.patience(1.3);
            return Ok(());
        }
        if leads && !self.links().lock().silent {
            self.watch_lead();
            return Ok(());
        }
        if !leads {
            self.links().lock().silent = false;
            self.put_off();
        }
        if Instant::now() < self.deadline {
            return Ok(());
        }
        self.stand(leads).await
    }

    /// A follower that hears its leader is patient anew.
    fn put_off(&mut self) {
        let heard = self.links().lock().leader;
        if let Some(heard) = heard.filter(|heard| heard.elapsed() < self.lease) {
            let least = heard + self.lease.mul_f64(1.3);
            if self.deadline < least {
                self.deadline = heard + self.patience(1.3);
            }
        }
    }

    fn watch_lead(&mut self) {
        let last = self.links().lock().majority(self.me).max(self.leads_since);
        if last.is_none_or(|last| last.elapsed() > self.lease.mul_f64(1.5)) {
            tracing::warn!("this node leads and no majority answers: it is silent until one does");
        } else if self.disk_hangs() {
            tracing::warn!("this node leads and its disk does not answer: it is silent until it does");
        } else {
            return;
        }
        self.links().lock().silent = true;
        self.deadline = Instant::now() + self.patience(0.3);
    }

    /// Whether the disk has had entries to store for so long that nobody should wait for this leader.
    fn disk_hangs(&self) -> bool {
        self.log.durable().stuck() > self.lease.mul_f64(1.5)
    }

    async fn stand(&mut self, leads: bool) -> Result<(), openraft::error::Fatal<crate::types::Voter>> {
        let wins = !(leads && self.disk_hangs()) && self.wins_poll().await;
        self.deadline = Instant::now() + self.patience(0.4);
        if !wins {
            return Ok(());
        }
        if leads {
            tracing::info!("a majority answers again: this node leads on");
            self.leads_since = Some(Instant::now());
            self.links().lock().silent = false;
            return Ok(());
        }
        tracing::info!("no leader is heard and a majority agrees: this node stands for election");
        self.core.trigger().elect().await
    }

    /// Whether a majority would vote for this node.
    async fn wins_poll(&self) -> bool {
        let voters: BTreeSet<Uid> = self.links().lock().configs.iter().flatten().copied().collect();
        let last = self.log.last();
        let others = voters.iter().filter(|voter| **voter != self.me);
        let mut polls: FuturesUnordered<_> = others.map(|voter| self.poll(*voter, last)).collect();
        let mut granted = BTreeSet::from([self.me]);
        while let Some(voter) = polls.next().await {
            granted.extend(voter);
            if self.links().lock().is_majority(&granted) {
                return true;
            }
        }
        self.links().lock().is_majority(&granted)
    }

    async fn poll(&self, voter: Uid, last: Option<LogId>) -> Option<Uid> {
        let limit = self.lease / 2;
        let answer = tokio::time::timeout(limit, self.network.ask(voter, Question::Poll { last }, limit)).await;
        matches!(answer, Ok(Ok(Answer::Poll { granted: true }))).then_some(voter)
    }

    /// Between `least` and `least` + 0.8 leases, so that two voters seldom stand at once.
    fn patience(&mut self, least: f64) -> Duration {
        // SplitMix64: the times of a node are its own and follow from its id.
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.dice ^ (self.dice >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX);
        self.lease.mul_f64(least + 0.8 * share)
    }

    fn links(&self) -> &Arc<Links> {
        &self.network.links
    }
}

/// Whether a voter with this log, which has heard this, would vote for somebody whose log ends at `last`.
pub(crate) fn would_vote(leads: bool, heard: &Heard, lease: Duration, own: Option<LogId>, last: Option<LogId>) -> bool {
    let has_leader = if leads { !heard.silent } else { heard.hears_leader(lease) };
    !has_leader && last >= own
}
