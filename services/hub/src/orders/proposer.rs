//! The one task of the leader that stamps entries and proposes them in batches.

use std::{collections::VecDeque, sync::Arc};

use acp_base::{Change, Code, Failure, WallTime};
use acp_core_cdb::encode;
use acp_io_failpoint::point;
use acp_io_raft::ProposeError;
use acp_wire_model::entry::{Action, Entry};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{BYTES_MAX, Draft, ENTRIES_MAX, OrderError, Ordering};
use crate::{
    clocks::Clocks,
    log::{Applied, Batch, Blob, Decision, Replica},
    metrics,
    seat::Seat,
};

/// How often a batch is stamped anew that came after an earlier leader's last one. Each such leader has one under way.
const ATTEMPTS_MAX: usize = 8;

/// Takes proposals and has them ordered, one batch at a time.
#[derive(Debug)]
pub(crate) struct Proposer {
    queue: mpsc::Receiver<Ordering>,
    /// Taken from the queue, too much for the batch before.
    waiting: VecDeque<Ordering>,
    replica: Replica,
    seat: Arc<Seat>,
    clocks: Clocks,
}

/// What is proposed together.
struct Round {
    orderings: Vec<Ordering>,
    entries: usize,
    bytes: usize,
}

impl Proposer {
    pub(crate) const fn new(
        queue: mpsc::Receiver<Ordering>,
        replica: Replica,
        seat: Arc<Seat>,
        clocks: Clocks,
    ) -> Self {
        Self { queue, waiting: VecDeque::new(), replica, seat, clocks }
    }

    /// Runs until the drain.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        loop {
            let next = match self.waiting.pop_front() {
                Some(next) => Some(next),
                None => tokio::select! {
                    () = drain.cancelled() => return,
                    next = self.queue.recv() => next,
                },
            };
            let Some(first) = next else { return };
            let round = self.gather(first);
            self.settle(round).await;
        }
    }

    /// Takes along what waits, as much as a batch holds.
    fn gather(&mut self, first: Ordering) -> Round {
        let mut round = Round { orderings: Vec::new(), entries: 0, bytes: 0 };
        let mut next = Some(first);
        while let Some(ordering) = next {
            let bytes = size(&ordering.drafts);
            let is_full = round.entries + ordering.drafts.len() > ENTRIES_MAX || round.bytes + bytes > BYTES_MAX;
            if is_full && !round.orderings.is_empty() {
                self.waiting.push_front(ordering);
                break;
            }
            round.entries += ordering.drafts.len();
            round.bytes += bytes;
            // Entries of another epoch follow in another batch.
            let ends_epoch = ordering.drafts.iter().any(|draft| matches!(draft.action, Action::Horizon { .. }));
            round.orderings.push(ordering);
            if ends_epoch {
                break;
            }
            next = self.waiting.pop_front().or_else(|| self.queue.try_recv().ok());
        }
        round
    }

    /// One batch, from proposals to answers.
    async fn settle(&self, mut round: Round) {
        round.orderings = round.orderings.into_iter().filter_map(|ordering| self.admitted(ordering)).collect();
        if round.orderings.is_empty() {
            return;
        }
        let drafts: Vec<Draft> = round.orderings.iter().flat_map(|ordering| ordering.drafts.iter().cloned()).collect();
        let ordered = self.propose(&drafts).await;
        if let Ok(decisions) = &ordered {
            metrics::ordered(decisions);
        }
        let mut decisions = ordered.map(Vec::into_iter);
        for Ordering { drafts, answer } in round.orderings {
            let result = match &mut decisions {
                Ok(decisions) => Ok(decisions.by_ref().take(drafts.len()).collect()),
                Err(OrderError::NotLeader) => Err(OrderError::NotLeader),
                Err(OrderError::Failed(failure)) => Err(OrderError::Failed(failure.clone())),
            };
            // Whoever stopped waiting needs no answer.
            drop(answer.send(result));
        }
    }

    /// What may occur in the log as it stands. Anything else is answered here: an earlier version would stall at it.
    fn admitted(&self, ordering: Ordering) -> Option<Ordering> {
        let may_occur = |draft: &Draft| self.replica.read(|state| state.may_occur(&draft.action));
        match ordering.drafts.iter().try_for_each(may_occur) {
            Ok(()) => Some(ordering),
            Err(refusal) => {
                let failure = Failure::new(refusal.code, refusal.message);
                // Whoever stopped waiting needs no answer.
                drop(ordering.answer.send(Err(OrderError::Failed(failure))));
                None
            }
        }
    }

    async fn propose(&self, drafts: &[Draft]) -> Result<Vec<Decision>, OrderError> {
        let failed = |failure| OrderError::Failed(failure);
        let raft = self.seat.raft().ok_or(OrderError::NotLeader)?;
        for _attempt in 0..ATTEMPTS_MAX {
            point("hub.batch.taken").map_err(|injected| failed(injected.into()))?;
            let batch = self.stamp(drafts, self.now().await)?;
            let applied = raft.propose(batch).await.map_err(refused)?;
            point("hub.batch.applied").map_err(|injected| failed(Failure::from(injected).changed(Change::Unknown)))?;
            match applied {
                Applied::Decided(decisions) => return Ok(decisions),
                Applied::Void => {}
                Applied::Stalled(reason) => {
                    let text = format!("the control plane has stopped applying the log: {reason}");
                    return Err(failed(Failure::unavailable(text).changed(Change::Unknown)));
                }
            }
        }
        Err(failed(Failure::unavailable("other leaders' entries came first each time")))
    }

    /// The time, as most voters have it.
    async fn now(&self) -> WallTime {
        let voters = self.seat.status().borrow().voters.clone();
        self.clocks.now(self.replica.here(), &voters).await
    }

    fn stamp(&self, drafts: &[Draft], now: WallTime) -> Result<Vec<u8>, OrderError> {
        let at = *self.replica.position().borrow();
        // Time does not go back in the log, whatever the clocks of its leaders say.
        let time = now.max(at.time);
        let first = at.index + 1;
        let entries = drafts.iter().zip(first..).map(|(draft, index)| {
            let no_epoch = || OrderError::Failed(Failure::precondition("no cluster was founded here"));
            let epoch = draft.epoch.or(at.epoch).ok_or_else(no_epoch)?;
            let Draft { actor, request, action, .. } = draft.clone();
            Ok(Blob(encode(&Entry { index, epoch, time, actor, request, action })))
        });
        Ok(Batch { first, entries: entries.collect::<Result<_, _>>()? }.encode())
    }
}

/// About how many bytes entries take.
fn size(drafts: &[Draft]) -> usize {
    drafts.iter().map(|draft| serde_json::to_vec(&draft.action).map_or(0, |text| text.len())).sum()
}

fn refused(error: ProposeError) -> OrderError {
    let failure = |change| Failure::unavailable(error.to_string()).changed(change);
    match &error {
        ProposeError::NotLeader { .. } => OrderError::NotLeader,
        ProposeError::Unknown(_) => OrderError::Failed(failure(Change::Unknown)),
        ProposeError::Full(_) => OrderError::Failed(Failure::new(Code::ResourceExhausted, error.to_string())),
        ProposeError::Failed(_) | ProposeError::Ended => OrderError::Failed(failure(Change::None)),
    }
}
