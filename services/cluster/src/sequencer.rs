//! Order and durability: the seam where the quorum of several controllers will stand.
//!
//! [`LocalQuorum`] orders alone: it gives each proposal the next index and returns when the batch is on stable storage. The
//! hub's log will take its place and give the same answer, ordered and durable entries. Whoever reads the database never
//! learns which of the two it was.
//!
//! **Invariant**: an entry is applied, and its proposer answered, only after [`LocalQuorum::order`] has returned it.

use std::sync::Arc;

use acp_base::{EpochId, Failure};
use acp_core_cdb::{Hash, Record, encode};
use acp_io_daemon::{Health, wall_now};
use acp_io_failpoint::{Injected, point};
use acp_io_store::{Row, Store, StoreError};
use acp_wire_model::entry::{Action, Entry};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{sentence, write_failure},
    service::Handle,
};

/// Proposals waiting to be ordered. Beyond it proposers wait: a thousand writes are a second of a slow disk.
pub(crate) const PROPOSALS_MAX: usize = 1_024;

/// Proposals in one batch, which is one synchronisation of the disk.
const BATCH_MAX: usize = 512;

/// What a proposer wants to be entered.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// Who asked.
    pub(crate) actor: String,
    /// The request that caused it.
    pub(crate) request: String,
    /// What is to be done.
    pub(crate) action: Action,
}

/// A write that was applied.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// The entry's index.
    pub(crate) index: u64,
    /// The object after it; for a delete, as it was last.
    pub(crate) record: Arc<Record>,
}

/// Where a proposer waits for what became of its proposal.
pub(crate) type Answer = oneshot::Sender<Result<Written, Failure>>;

/// A command with its proposer.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// What is to be entered.
    pub(crate) command: Command,
    /// Who waits for it.
    pub(crate) answer: Answer,
}

/// An entry that is ordered and durable.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    /// Its index.
    pub(crate) index: u64,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// An ordered entry on its way to apply.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The entry.
    pub(crate) entry: Ordered,
    /// Who waits for it.
    pub(crate) answer: Answer,
}

/// A quorum of one: this node's own store.
#[derive(Debug)]
pub(crate) struct LocalQuorum {
    store: Arc<Store>,
    epoch: EpochId,
    index: u64,
    hash: Hash,
}

impl LocalQuorum {
    /// Goes on in this epoch after the entry with this index and hash.
    pub(crate) const fn new(store: Arc<Store>, epoch: EpochId, (index, hash): (u64, Hash)) -> Self {
        Self { store, epoch, index, hash }
    }

    /// Orders the commands; returns when all of them are durable. On an error none of them counts.
    pub(crate) async fn order(&mut self, commands: Vec<Command>) -> Result<Vec<Ordered>, StoreError> {
        point("cluster.write.taken").map_err(not_stored)?;
        let time = wall_now();
        let mut ordered = Vec::with_capacity(commands.len());
        let mut rows = Vec::with_capacity(commands.len());
        let mut hash = self.hash;
        for (Command { actor, request, action }, index) in commands.into_iter().zip(self.index + 1..) {
            let bytes = encode(&Entry { index, epoch: self.epoch, time, actor, request, action });
            hash = hash.link(&bytes);
            rows.push(Row { index, hash: hash.bytes(), time_ms: time.0, bytes: bytes.clone(), refused: None });
            ordered.push(Ordered { index, bytes });
        }
        self.store.append(rows).await?;
        point("cluster.write.stored").map_err(not_stored)?;
        self.index = ordered.last().map_or(self.index, |entry| entry.index);
        self.hash = hash;
        Ok(ordered)
    }
}

/// Takes proposals in batches, has them ordered and hands them to apply.
#[derive(Debug)]
pub(crate) struct Sequencer {
    quorum: LocalQuorum,
    store: Arc<Store>,
    database: Handle,
    noted: watch::Sender<u64>,
    health: Health,
    failed: mpsc::Sender<StoreError>,
}

impl Sequencer {
    /// A sequencer before `database`. `noted` says up to which index the stored log is applied and its refusals are noted;
    /// `health` says that writes fail; `failed` hears of a store that cannot be believed any more.
    pub(crate) const fn new(
        quorum: LocalQuorum,
        store: Arc<Store>,
        database: Handle,
        noted: watch::Sender<u64>,
        health: Health,
        failed: mpsc::Sender<StoreError>,
    ) -> Self {
        Self { quorum, store, database, noted, health, failed }
    }

    /// Runs until the drain, or until the store cannot be believed. A disk that is full or fails turns proposals away, and
    /// the next one is tried as if nothing had been. While the replica is stalled, every proposal is turned away.
    pub(crate) async fn run(
        mut self,
        mut proposals: mpsc::Receiver<Proposal>,
        stalled: Option<String>,
        drain: CancellationToken,
    ) {
        loop {
            let mut batch = Vec::new();
            let count = tokio::select! {
                () = drain.cancelled() => return,
                count = proposals.recv_many(&mut batch, BATCH_MAX) => count,
            };
            if count == 0 {
                return;
            }
            if let Some(reason) = &stalled {
                let failure = Failure::unavailable(format!("this replica has stopped applying the log: {reason}"));
                turn_away(batch.into_iter().map(|proposal| proposal.answer), &failure);
                continue;
            }
            if let Err(error) = self.settle(batch).await {
                drop(self.failed.send(error).await);
                return;
            }
        }
    }

    /// One batch, from proposals to answers. An error is one after which nothing can be stored any more.
    async fn settle(&mut self, batch: Vec<Proposal>) -> Result<(), StoreError> {
        let (commands, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|proposal| (proposal.command, proposal.answer)).unzip();
        let ordered = match self.quorum.order(commands).await {
            Ok(ordered) => ordered,
            Err(error) => {
                tracing::error!(reason = sentence(&error), "entries could not be stored");
                turn_away(answers, &write_failure(&error));
                return self.endure(error);
            }
        };
        self.recovered();
        let committed = ordered.into_iter().zip(answers).map(|(entry, answer)| Committed { entry, answer }).collect();
        let refusals = self.database.commit(committed).await.map_err(|_ended| StoreError::Closed)?;
        if !refusals.is_empty()
            && let Err(error) = self.store.refuse(refusals).await
        {
            // The next start finds the same refusals by applying the log again.
            tracing::warn!(reason = sentence(&error), "refusals could not be noted");
        }
        self.noted.send_replace(self.quorum.index);
        Ok(())
    }

    /// Goes on after a failed write if the next one may succeed.
    fn endure(&mut self, error: StoreError) -> Result<(), StoreError> {
        match error {
            // After either of them the store goes on as if the batch had not been tried.
            StoreError::Full | StoreError::Sqlite { .. } => {
                self.health.degrade(format!("the last write to the cluster database failed: {}", sentence(&error)));
                Ok(())
            }
            error => Err(error),
        }
    }

    fn recovered(&self) {
        if !self.health.reason().is_empty() {
            tracing::info!("entries are stored again");
            self.health.ok();
        }
    }
}

fn not_stored(injected: Injected) -> StoreError {
    StoreError::Io { doing: "store entries", source: injected.into() }
}

fn turn_away(answers: impl IntoIterator<Item = Answer>, failure: &Failure) {
    for answer in answers {
        // A proposer that stopped waiting needs no answer.
        drop(answer.send(Err(failure.clone())));
    }
}
