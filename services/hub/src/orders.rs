//! How entries come into the log: from this hub if it leads, else through the leader's.
//!
//! **Invariants**: one batch is under way at a time, so an entry's index is known when it is stamped. A failure says truly
//! whether anything may have changed: nothing while no leader had taken the entries, and nobody knows once one had and did
//! not confirm them.

mod proposer;

use std::sync::Arc;

use acp_base::{Change, Code, EpochId, Failure};
use acp_wire_api::hub::{Proposal, ProposeRequest};
use acp_wire_model::entry::Action;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

pub(crate) use proposer::Proposer;

use crate::{
    ask::{Answer, Ask},
    log::Decision,
    peers::AskError,
    seat::Seat,
};

/// Entries in one proposal, as in one batch.
pub(crate) const ENTRIES_MAX: usize = 512;

/// Bytes of the entries of one proposal, as of one batch.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// Proposals waiting to be taken into a batch. Beyond it proposers wait: a thousand writers are two batches.
pub(crate) const QUEUE_MAX: usize = 1_024;

/// An entry that is to be ordered.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Who asked.
    pub(crate) actor: String,
    /// The request that caused it.
    pub(crate) request: String,
    /// What is to be done.
    pub(crate) action: Action,
    /// The epoch that begins with it; only of the entry that founds a cluster.
    pub(crate) epoch: Option<EpochId>,
}

impl Draft {
    /// An entry of the epoch that is current.
    pub(crate) fn new(actor: &str, request: &str, action: Action) -> Self {
        Self { actor: actor.to_owned(), request: request.to_owned(), action, epoch: None }
    }

    /// As it is passed on to the leader.
    fn proposal(&self) -> Result<Proposal, Failure> {
        let action = serde_json::to_value(&self.action).map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Proposal { actor: self.actor.clone(), request: self.request.clone(), action })
    }
}

/// Why entries were not ordered here.
#[derive(Debug)]
pub(crate) enum OrderError {
    /// This hub does not lead. Nothing was changed.
    NotLeader,
    /// The failure says whether anything was changed.
    Failed(Failure),
}

/// Entries with whoever waits for what becomes of them.
#[derive(Debug)]
pub(crate) struct Ordering {
    drafts: Vec<Draft>,
    answer: oneshot::Sender<Result<Vec<Decision>, OrderError>>,
}

/// The way into the log. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    queue: mpsc::Sender<Ordering>,
    seat: Arc<Seat>,
}

impl Orders {
    pub(crate) const fn new(queue: mpsc::Sender<Ordering>, seat: Arc<Seat>) -> Self {
        Self { queue, seat }
    }

    /// Has entries ordered wherever the leader is; waits for one until the deadline. Each entry is answered.
    pub(crate) async fn order(&self, drafts: Vec<Draft>, deadline: Instant) -> Result<Vec<Decision>, Failure> {
        loop {
            let leader = self.seat.leader(deadline).await?;
            let tried = match leader.elsewhere {
                None => self.order_here(drafts.clone()).await,
                Some(to) => {
                    let entries = drafts.iter().map(Draft::proposal).collect::<Result<_, _>>()?;
                    let ask = Ask::Propose(ProposeRequest { entries });
                    match self.seat.peers().ask(to, &ask, deadline).await {
                        Ok(Answer::Proposed(reply)) => return crate::ask::decisions(reply),
                        Ok(_other) => return Err(Failure::internal("the leader's hub answered something else")),
                        Err(error) => Err(passed(error)),
                    }
                }
            };
            match tried {
                Ok(decisions) => return Ok(decisions),
                Err(OrderError::Failed(failure)) => return Err(failure),
                Err(OrderError::NotLeader) => self.seat.pause(deadline).await?,
            }
        }
    }

    /// Has one entry ordered, and answers its index, or why it was decided against.
    pub(crate) async fn order_one(&self, draft: Draft, deadline: Instant) -> Result<u64, Failure> {
        let decisions = self.order(vec![draft], deadline).await?;
        let decision = decisions.into_iter().next().ok_or_else(|| Failure::internal("an entry was not answered"))?;
        match decision.refused {
            None => Ok(decision.index),
            Some(refusal) => Err(Failure::new(refusal.code, refusal.message)),
        }
    }

    /// Has entries ordered if this hub leads.
    pub(crate) async fn order_here(&self, drafts: Vec<Draft>) -> Result<Vec<Decision>, OrderError> {
        let ending = |change| OrderError::Failed(Failure::unavailable("the hub is ending").changed(change));
        let (answer, answered) = oneshot::channel();
        let sent = self.queue.send(Ordering { drafts, answer }).await;
        sent.map_err(|_unsent| ending(Change::None))?;
        answered.await.map_err(|_dropped| ending(Change::Unknown))?
    }
}

/// What came of passing entries on to the leader.
fn passed(error: AskError) -> OrderError {
    match error {
        AskError::NotSent => OrderError::NotLeader,
        AskError::Lost(reason) => {
            let text = format!("the leader did not confirm the change: {reason}");
            OrderError::Failed(Failure::unavailable(text).changed(Change::Unknown))
        }
        AskError::Answered(failure) if is_not_leader(&failure) => OrderError::NotLeader,
        AskError::Answered(failure) => OrderError::Failed(failure),
    }
}

/// What a hub answers to whoever took it for the leader.
pub(crate) fn not_leader() -> Failure {
    Failure::new(Code::Conflict, "this hub does not lead")
}

fn is_not_leader(failure: &Failure) -> bool {
    failure.code == Code::Conflict && failure.changed == Change::None
}

/// Waits for an answer until a deadline.
pub(crate) async fn until<T>(deadline: Instant, what: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
    timeout_at(deadline, work)
        .await
        .map_err(|_late| Failure::new(Code::DeadlineExceeded, format!("{what} was not there in time")))
}
