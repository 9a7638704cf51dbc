//! What a voter says of itself.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::Uid;
use openraft::ServerState;
use tokio::time::Instant;

use crate::{
    links::Heard,
    types::{LogId, Metrics, Voter},
};

/// What a node is in its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It belongs to no group: none was founded here and none has made it a learner.
    #[default]
    Unfounded,
    /// It is sent the log and has no vote.
    Learner,
    /// It has a vote and hears, or waits for, a leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It orders the log. Look at [`Status::quorum_heard`]: it may have lost its majority.
    Leader,
    /// The store failed, for this reason; it is opened again and again until it works.
    Failed(String),
    /// It was shut down.
    Ended,
}

/// What a leader knows of another node of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The last entry it is known to hold.
    pub matched: u64,
    /// When it last answered.
    pub heard: Option<Instant>,
}

/// A voter's view of its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The group's identity, drawn when it was founded. Nodes of different groups do not hear each other.
    pub group: Option<Uid>,
    /// What this node is.
    pub role: Role,
    /// The election it is in.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<Uid>,
    /// The last entry in its log; indices are of the Raft log, from 1.
    pub last_index: u64,
    /// The last entry it knows to be committed.
    pub committed: u64,
    /// The last entry applied to its machine.
    pub applied: u64,
    /// The last entry its snapshot covers.
    pub snapshot: u64,
    /// Who has a vote.
    pub voters: BTreeSet<Uid>,
    /// Who is sent the log without a vote.
    pub learners: BTreeSet<Uid>,
    /// At the leader: every other voter and learner.
    pub peers: BTreeMap<Uid, Peer>,
    /// When a majority last acknowledged the leader; a follower says what its leader told it. An old instant, or none, is a
    /// degraded group.
    pub quorum_heard: Option<Instant>,
}

impl Status {
    /// Whether this node leads and may order entries.
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }
}

/// What openraft says, and what was heard.
pub(crate) fn status_of(metrics: &Metrics, heard: &Heard, committed: Option<LogId>, me: Uid) -> Status {
    let index = |log_id: Option<LogId>| log_id.map_or(0, |log_id| log_id.index);
    let membership = metrics.membership_config.membership();
    let leads = metrics.state == ServerState::Leader;
    let peer = |(voter, matched): (&Voter, &Option<LogId>)| {
        (voter.0, Peer { matched: index(*matched), heard: heard.peers.get(&voter.0).copied() })
    };
    let peers = metrics.replication.iter().flatten().filter(|(voter, _)| voter.0 != me).map(peer).collect();
    Status {
        group: heard.group,
        role: role_of(metrics, heard),
        term: metrics.current_term,
        leader: metrics.current_leader.map(|leader| leader.0),
        last_index: metrics.last_log_index.unwrap_or(0),
        committed: index(committed).max(index(metrics.last_applied)),
        applied: index(metrics.last_applied),
        snapshot: index(metrics.snapshot),
        voters: membership.voter_ids().map(|voter| voter.0).collect(),
        learners: membership.learner_ids().map(|learner| learner.0).collect(),
        peers,
        quorum_heard: if leads { heard.majority(me) } else { heard.quorum },
    }
}

fn role_of(metrics: &Metrics, heard: &Heard) -> Role {
    match metrics.state {
        _ if heard.group.is_none() => Role::Unfounded,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Ended,
    }
}
