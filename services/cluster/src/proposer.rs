//! Writes on their way to a hub.
//!
//! Proposals wait in one bounded queue. A few lanes take from it whatever waits, each as one batch, and have at most one
//! batch under way each: while a hub orders one, the next gathers. Which hub: the one that is followed, else another one.
//!
//! Deliberately not here: waiting until this node's replica has applied what was ordered, which is the handler's.
//!
//! **Invariant**: a batch is sent again only if it was surely not ordered; else its proposers are told that it is not known.

use std::{sync::Arc, time::Duration};

use acp_base::{Change, Code, Failure};
use acp_io_client::{Client, Conversation};
use acp_io_daemon::Tasks;
use acp_io_failpoint::point;
use acp_io_varlink::CallContext;
use acp_wire_api::{
    Method,
    hub::{Proposal, Propose, ProposeReply, ProposeRequest, Proposed, ReadIndex},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    following::Following,
    peers::Peers,
    source::{Source, hubs},
};

/// Proposals waiting to be sent. Beyond it proposers wait: a thousand writes are a second of a slow disk.
pub(crate) const PROPOSALS_MAX: usize = 1_024;

/// Proposals in one batch, which is one synchronisation of the disk: as many as the hub takes.
const BATCH_MAX: usize = 512;

/// Bytes of proposals as JSON after which a batch is closed: with the largest one there is, a call stays below 1 MiB.
const BATCH_BYTES: usize = 512 << 10;

/// Batches under way at once: one is ordered, one travels, and one is answered. More would only be smaller ones.
const LANES: usize = 3;

/// How long a hub may take to be reached.
const REACH_MAX: Duration = Duration::from_secs(2);

/// How long a batch may take to be ordered: an election and a slow disk.
const ORDER_MAX: Duration = Duration::from_secs(10);

/// The pause before the hubs are asked again when none of them could order anything.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// An action with its proposer.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What is to be entered.
    pub(crate) proposal: Proposal,
    /// Its bytes as JSON.
    pub(crate) bytes: usize,
    /// Who waits for the index of its entry.
    pub(crate) answer: Answer,
}

/// What became of a proposal.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    /// The index of its entry; 0: it was not ordered at all.
    pub(crate) index: u64,
    /// Why it was decided against.
    pub(crate) refused: Option<Failure>,
}

/// Where a proposer waits. A failure says that nobody knows, or that nothing was ordered.
type Answer = oneshot::Sender<Result<Ordered, Failure>>;

/// The way to the hubs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hubs {
    client: Client,
    peers: watch::Receiver<Arc<Peers>>,
    following: Following,
}

/// A conversation with a hub, kept from batch to batch.
pub(crate) type Kept = Option<(Source, Conversation)>;

impl Hubs {
    pub(crate) const fn new(client: Client, peers: watch::Receiver<Arc<Peers>>, following: Following) -> Self {
        Self { client, peers, following }
    }

    /// The hubs, the one that is followed first: it answers.
    fn all(&self) -> Vec<Source> {
        let mut hubs = hubs(&self.peers.borrow());
        if let Some(followed) = self.following.told().source.filter(Source::is_hub) {
            hubs.retain(|hub| *hub != followed);
            hubs.insert(0, followed);
        }
        hubs
    }

    /// An index that holds everything that was acknowledged anywhere before.
    pub(crate) async fn read_index(&self) -> Result<u64, Failure> {
        self.ask::<ReadIndex>(acp_wire_api::Empty {}).await.map(|reply| reply.index)
    }

    /// What the first hub answers that does.
    pub(crate) async fn ask<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure>
    where
        M::Request: Clone,
    {
        let mut failure = nobody();
        for hub in self.all() {
            match hub.service(&self.client).deadline(REACH_MAX).call::<M>(request.clone()).await {
                Ok(reply) => return Ok(reply),
                Err(refusal) => failure = refusal,
            }
        }
        Err(failure)
    }

    /// Has entries ordered by one of the hubs.
    pub(crate) async fn propose(&self, request: &ProposeRequest, kept: &mut Kept) -> Result<ProposeReply, Failure> {
        let deadline = Instant::now() + ORDER_MAX;
        loop {
            let mut failure = nobody();
            for hub in self.all() {
                match self.propose_to(hub, request, kept, deadline).await {
                    Err(refusal) if may_be_asked_elsewhere(&refusal) => {
                        failure = refusal;
                    }
                    settled => return settled,
                }
            }
            if Instant::now() + ROUND_PAUSE >= deadline {
                return Err(failure);
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    async fn propose_to(
        &self,
        hub: Source,
        request: &ProposeRequest,
        kept: &mut Kept,
        deadline: Instant,
    ) -> Result<ProposeReply, Failure> {
        let mut conversation = match kept.take().filter(|(of, _)| *of == hub) {
            Some((_, conversation)) if !is_closed(&conversation).await => conversation,
            _ => {
                let left = deadline.saturating_duration_since(Instant::now()).min(REACH_MAX);
                hub.service(&self.client).deadline(left).conversation().await?
            }
        };
        let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
        let deadline_ms = Some(u64::try_from(left_ms).unwrap_or(u64::MAX));
        let context = CallContext { deadline_ms, ..CallContext::default() };
        match timeout_at(deadline, conversation.call::<Propose>(request, context)).await {
            Ok(Ok(reply)) => {
                *kept = Some((hub, conversation));
                Ok(reply)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_elapsed) => {
                let text = format!("{hub} has not ordered the write within {ORDER_MAX:?}; it may still do so");
                Err(Failure::new(Code::DeadlineExceeded, text).changed(Change::Unknown))
            }
        }
    }
}

/// Whether this hub ordered nothing for now, and another one may.
fn may_be_asked_elsewhere(refusal: &Failure) -> bool {
    refusal.changed == Change::None && matches!(refusal.code, Code::Unavailable | Code::DeadlineExceeded)
}

/// Whether the far end has closed an idle conversation.
async fn is_closed(conversation: &Conversation) -> bool {
    tokio::select! {
        biased;
        () = conversation.closed() => true,
        () = std::future::ready(()) => false,
    }
}

fn nobody() -> Failure {
    Failure::unavailable("no controller is known here")
}

/// Takes proposals in batches and has them ordered.
#[derive(Debug)]
pub(crate) struct Proposer {
    hubs: Hubs,
    queue: Mutex<mpsc::Receiver<Asked>>,
}

impl Proposer {
    /// Starts the lanes, which run until the drain.
    pub(crate) fn start(hubs: Hubs, queue: mpsc::Receiver<Asked>, tasks: &Tasks, drain: &CancellationToken) {
        let proposer = Arc::new(Self { hubs, queue: Mutex::new(queue) });
        for _lane in 0..LANES {
            tasks.spawn("proposer", Arc::clone(&proposer).run(drain.clone()));
        }
    }

    async fn run(self: Arc<Self>, drain: CancellationToken) {
        let mut kept = None;
        loop {
            let batch = tokio::select! {
                () = drain.cancelled() => return,
                batch = self.gather() => batch,
            };
            if batch.is_empty() {
                return;
            }
            self.settle(batch, &mut kept).await;
        }
    }

    /// What waits, as much as one batch takes.
    async fn gather(&self) -> Vec<Asked> {
        let mut queue = self.queue.lock().await;
        let Some(first) = queue.recv().await else { return Vec::new() };
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && bytes < BATCH_BYTES
            && let Ok(next) = queue.try_recv()
        {
            bytes += next.bytes;
            batch.push(next);
        }
        batch
    }

    /// One batch, from proposals to answers. A proposer that stopped waiting needs none.
    async fn settle(&self, batch: Vec<Asked>, kept: &mut Kept) {
        let (entries, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|asked| (asked.proposal, asked.answer)).unzip();
        let taken = point("cluster.write.taken").map_err(Failure::from);
        let reply = match taken {
            Ok(()) => self.hubs.propose(&ProposeRequest { entries }, kept).await,
            Err(failure) => Err(failure),
        };
        match reply {
            Ok(reply) if reply.outcomes.len() == answers.len() => {
                for (answer, outcome) in answers.into_iter().zip(reply.outcomes) {
                    drop(answer.send(Ok(settled(outcome))));
                }
            }
            Ok(reply) => {
                let text = format!("the hub answered {} of {} proposals", reply.outcomes.len(), answers.len());
                turn_away(answers, &Failure::internal(text).changed(Change::Unknown));
            }
            Err(failure) => turn_away(answers, &failure),
        }
    }
}

fn turn_away(answers: Vec<Answer>, failure: &Failure) {
    for answer in answers {
        drop(answer.send(Err(failure.clone())));
    }
}

/// What became of a proposal that the hub has answered.
pub(crate) fn settled(outcome: Proposed) -> Ordered {
    let Proposed { index, code, refused } = outcome;
    let refused = match refused {
        None if index > 0 => None,
        None => {
            let text = "the hub answered a proposal without saying what became of it";
            Some(Failure::internal(text).changed(Change::Unknown))
        }
        Some(reason) => {
            let code = code.as_deref().and_then(Code::from_name).unwrap_or(Code::Internal);
            Some(Failure::new(code, reason))
        }
    };
    Ordered { index, refused }
}
