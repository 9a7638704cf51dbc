//! Openraft's questions on their way to another node.

use std::{sync::Arc, time::Duration};

use acp_base::Uid;
use openraft::{
    AnyError, EmptyNode, RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, RPCError, RaftError, RemoteError},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use tokio::time::Instant;

use crate::{
    frame::{self, Answer, Piece, Question, Request},
    links::Links,
    store::Durable,
    transport::{AnyTransport, Unreachable},
    types::{Types, Voter},
};

/// The share of the time for a message that it may wait for this node's disk, to say that an entry is committed. What follows a
/// slower disk is the next one that says so; a node that hears its leader late does not give it up.
const STORED_WAIT_SHARE: u32 = 4;

type Failed<E = openraft::error::Infallible> = RPCError<Voter, EmptyNode, RaftError<Voter, E>>;

/// The way to every other node.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) transport: Arc<dyn AnyTransport>,
    pub(crate) links: Arc<Links>,
    pub(crate) me: Uid,
    /// How long to leave a node alone that cannot be reached.
    pub(crate) pause: Duration,
}

impl Network {
    /// Asks a node; whoever answers has been heard.
    pub(crate) async fn ask(&self, to: Uid, body: Question, limit: Duration) -> Result<Answer, Unreachable> {
        let group = self.links.lock().group.ok_or_else(|| Unreachable("this node has no group".into()))?;
        let frame = frame::encode(&Request { group, body }).map_err(Unreachable)?;
        let answer = self.transport.call(to, frame, limit).await?;
        match frame::decode(&answer).map_err(Unreachable)? {
            Answer::Refused(reason) => Err(Unreachable(format!("node {to} does not take part: {reason}"))),
            answer => Ok(answer),
        }
    }
}

/// The ways to other nodes, for as long as one core runs over one log.
pub(crate) struct Lines {
    pub(crate) network: Network,
    /// How far that log is on this node's disk.
    pub(crate) durable: Durable,
}

impl RaftNetworkFactory<Types> for Lines {
    type Network = Line;

    async fn new_client(&mut self, target: Voter, _node: &EmptyNode) -> Line {
        Line { to: target.0, network: self.network.clone(), durable: self.durable.clone() }
    }
}

/// The way to one other node.
pub(crate) struct Line {
    to: Uid,
    network: Network,
    durable: Durable,
}

impl Line {
    /// Says something as leader, unless this node is to be silent.
    async fn say(
        &self,
        limit: Duration,
        body: impl FnOnce(bool, Option<u64>) -> Question,
    ) -> Result<Answer, Unreachable> {
        let (silent, learner, quorum) = {
            let heard = self.network.links.lock();
            (heard.silent, heard.learners.contains(&self.to), heard.majority(self.network.me))
        };
        if silent {
            return Err(Unreachable("a leader without a majority is silent".into()));
        }
        let age = quorum.map(|quorum| u64::try_from(quorum.elapsed().as_millis()).unwrap_or(u64::MAX));
        let answer = self.network.ask(self.to, body(learner, age), limit).await?;
        self.network.links.lock().peers.insert(self.to, Instant::now());
        Ok(answer)
    }
}

fn unreachable<E: std::error::Error>(reason: &Unreachable) -> Failed<E> {
    RPCError::Unreachable(openraft::error::Unreachable::new(&AnyError::error(&reason.0)))
}

fn unexpected<E: std::error::Error>(answer: &Answer) -> Failed<E> {
    unreachable(&Unreachable(format!("an unexpected answer: {answer:?}")))
}

impl RaftNetwork<Types> for Line {
    async fn append_entries(
        &mut self,
        mut entries: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Voter>, Failed> {
        // Openraft counts this node among those that hold an entry before its disk does. Entries go out at once all the same;
        // what says only how far everything is committed waits a moment for the disk.
        let wait = if entries.entries.is_empty() { option.hard_ttl() / STORED_WAIT_SHARE } else { Duration::ZERO };
        entries.leader_commit = self.durable.as_far_as(entries.leader_commit, wait).await;
        let append = |learner, quorum_age_ms| Question::Append { entries, learner, quorum_age_ms };
        match self.say(option.hard_ttl(), append).await.map_err(|error| unreachable(&error))? {
            Answer::Append(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<Voter>, Failed<InstallSnapshotError>> {
        let InstallSnapshotRequest { vote, meta, offset, data, done } = request;
        let piece = Piece { vote, meta, offset, data, done };
        let snapshot = |learner, _age| Question::Snapshot { piece, learner };
        match self.say(option.hard_ttl(), snapshot).await.map_err(|error| unreachable(&error))? {
            Answer::Snapshot(vote) => Ok(InstallSnapshotResponse { vote }),
            Answer::Mismatch(mismatch) => {
                let mismatch = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(Voter(self.to), mismatch)))
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn vote(&mut self, request: VoteRequest<Voter>, option: RPCOption) -> Result<VoteResponse<Voter>, Failed> {
        let answer = self.network.ask(self.to, Question::Vote(request), option.hard_ttl()).await;
        match answer.map_err(|error| unreachable(&error))? {
            Answer::Vote(answer) => Ok(answer),
            other => Err(unexpected(&other)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.network.pause))
    }
}
