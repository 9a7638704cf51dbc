//! The one task that owns the database, and the handle by which others ask it.
//!
//! **Invariants**: everything is answered from one state, in the order asked; nothing here waits for a disk or a socket. A
//! watch costs nothing but its position while nothing happens: it asks for what came after, and its question is parked.

mod handle;

use std::{collections::BTreeMap, sync::Arc};

use acp_base::{Failure, Uid};
use acp_core_cdb::{Changes, Cursor, Database, Event, Identity, Outcome, State, View, WatchFilter};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use handle::Handle;

use self::handle::Request;
use crate::{
    metrics,
    sequencer::{Committed, Written},
};

/// Requests waiting for the owner. Beyond it askers wait; the owner answers hundreds of thousands a second.
const REQUESTS_MAX: usize = 1_024;

/// Requests answered before watches are looked at: changes that come together are told together.
const ROUND_MAX: usize = 256;

/// Parked questions after which those of watches that have ended are looked for: as many as watches can be open.
const PARKED_SWEEP: usize = 1_024;

/// Callers waiting for an index to be applied.
const WAITING_MAX: usize = 4_096;

/// Where a replica stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Who the cluster is; none if the log could not be applied from its start.
    pub(crate) identity: Option<Identity>,
    /// The last applied index.
    pub(crate) index: u64,
    /// The chain's hash there, as text.
    pub(crate) hash: String,
    /// Declared objects.
    pub(crate) objects: usize,
    /// Slots held.
    pub(crate) slots: usize,
    /// Why no further entry is applied; empty when they are.
    pub(crate) stalled: String,
}

/// What a watch is told.
#[derive(Debug)]
pub(crate) enum Told {
    /// These events; go on from the position.
    Events {
        /// In order.
        events: Vec<Event>,
        /// Where to go on.
        position: u64,
        /// The same for the watcher.
        cursor: Cursor,
    },
    /// The position is no longer known: begin with the state.
    Lost,
}

/// The state a watch begins with.
#[derive(Debug)]
pub(crate) struct Beginning {
    /// Every object.
    pub(crate) views: Vec<View>,
    /// Where to go on.
    pub(crate) position: u64,
    /// The same for the watcher.
    pub(crate) cursor: Cursor,
}

/// The number of refused entries of a batch with their reasons.
type Refusals = Vec<(u64, String)>;

/// A watch that waits for what comes after its position.
#[derive(Debug)]
struct Parked {
    position: u64,
    filter: Arc<WatchFilter>,
    answer: oneshot::Sender<Told>,
}

/// Says when the next snapshot is due.
#[derive(Debug)]
pub(crate) struct Snapshots {
    last: u64,
    every: u64,
    due: Arc<Notify>,
}

impl Snapshots {
    /// One is due every so many entries after the one that stands at `last`.
    pub(crate) const fn new(last: u64, every: u64, due: Arc<Notify>) -> Self {
        Self { last, every, due }
    }

    /// The log is applied up to here.
    pub(crate) fn reached(&mut self, index: u64) {
        if index.saturating_sub(self.last) >= self.every {
            self.last = index;
            self.due.notify_one();
        }
    }
}

/// The owner of the database.
#[derive(Debug)]
pub(crate) struct Service {
    database: Database,
    boot: Uid,
    requests: mpsc::Receiver<Request>,
    parked: Vec<Parked>,
    waiting: BTreeMap<u64, Vec<oneshot::Sender<Result<(), Failure>>>>,
    snapshots: Snapshots,
}

impl Service {
    /// An owner of this state, and its handle. `boot` names this life.
    pub(crate) fn new(state: State, boot: Uid, snapshots: Snapshots) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let service = Self {
            database: Database::new(state),
            boot,
            requests,
            parked: Vec::new(),
            waiting: BTreeMap::new(),
            snapshots,
        };
        (service, Handle { requests: sender })
    }

    /// Answers until the drain.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        let mut round = Vec::new();
        loop {
            let count = tokio::select! {
                () = drain.cancelled() => return,
                count = self.requests.recv_many(&mut round, ROUND_MAX) => count,
            };
            if count == 0 {
                return;
            }
            let before = self.database.position();
            for request in round.drain(..) {
                self.answer(request);
            }
            if self.database.position() != before {
                self.wake();
                metrics::describe(&self.database);
            }
        }
    }

    /// Answers one request. An asker that stopped waiting needs no answer, so a failed send is dropped everywhere here.
    fn answer(&mut self, request: Request) {
        match request {
            Request::Commit { batch, answer } => drop(answer.send(self.commit(batch))),
            Request::Get { kind, key, answer } => {
                let found = self.database.get(kind, &key).map(|view| (view, self.database.state().index()));
                drop(answer.send(found));
            }
            Request::List { kinds, answer } => {
                drop(answer.send((self.database.list(&kinds), self.database.state().index())));
            }
            Request::Publish { now, reporter, publication, answer } => {
                let published = self.database.publish(now, &reporter, publication);
                metrics::publication(published.is_ok());
                drop(answer.send(published));
            }
            Request::Begin { filter, answer } => {
                let (views, position) = self.database.watch_state(&filter);
                drop(answer.send(Beginning { views, position, cursor: self.cursor(position) }));
            }
            Request::Resume { cursor, answer } => drop(answer.send(self.database.resume(&cursor, self.boot))),
            Request::Follow(parked) => self.tell_or_park(parked),
            Request::Reach { index, answer } => self.reach(index, answer),
            Request::Image { answer } => drop(answer.send(self.database.state().image())),
            Request::Standing { answer } => drop(answer.send(self.standing())),
        }
    }

    /// Applies a batch and answers each proposer.
    fn commit(&mut self, batch: Vec<Committed>) -> Refusals {
        let mut refusals = Vec::new();
        for Committed { entry, answer } in batch {
            let index = entry.index;
            let outcome = self.database.apply(&entry.bytes);
            metrics::outcome(&outcome);
            let result = match outcome {
                Outcome::Done(done) => Ok(Written { index, record: done.record }),
                Outcome::Refused(refusal) => {
                    refusals.push((index, refusal.message.clone()));
                    Err(refusal.into())
                }
                Outcome::Stalled(stall) => Err(stall.into()),
            };
            drop(answer.send(result));
        }
        self.snapshots.reached(self.database.state().index());
        self.release_waiting();
        refusals
    }

    fn reach(&mut self, index: u64, answer: oneshot::Sender<Result<(), Failure>>) {
        let applied = self.database.state().index();
        let count = |waiting: &BTreeMap<u64, Vec<_>>| waiting.values().map(Vec::len).sum::<usize>();
        if count(&self.waiting) >= WAITING_MAX {
            self.sweep_waiting();
        }
        if index <= applied {
            drop(answer.send(Ok(())));
        } else if let Some(stall) = self.database.state().stalled() {
            drop(answer.send(Err(stall.clone().into())));
        } else if count(&self.waiting) >= WAITING_MAX {
            let message = format!("{WAITING_MAX} callers wait for entries to be applied, the most there can be");
            drop(answer.send(Err(Failure::new(acp_base::Code::ResourceExhausted, message))));
        } else {
            self.waiting.entry(index).or_default().push(answer);
        }
    }

    fn release_waiting(&mut self) {
        let later = self.waiting.split_off(&(self.database.state().index() + 1));
        for answer in std::mem::replace(&mut self.waiting, later).into_values().flatten() {
            drop(answer.send(Ok(())));
        }
    }

    /// Forgets callers that stopped waiting.
    fn sweep_waiting(&mut self) {
        self.waiting.retain(|_, answers| {
            answers.retain(|answer| !answer.is_closed());
            !answers.is_empty()
        });
    }

    /// Tells every parked watch what has happened since it asked.
    fn wake(&mut self) {
        for parked in std::mem::take(&mut self.parked) {
            if !parked.answer.is_closed() {
                self.tell_or_park(parked);
            }
        }
    }

    fn tell_or_park(&mut self, mut parked: Parked) {
        loop {
            match self.database.changes(parked.position, &parked.filter) {
                Changes::Lost => return drop(parked.answer.send(Told::Lost)),
                Changes::Next { events, position } if !events.is_empty() => {
                    let cursor = self.cursor(position);
                    return drop(parked.answer.send(Told::Events { events, position, cursor }));
                }
                Changes::Next { position, .. } if position == self.database.position() => {
                    parked.position = position;
                    return self.park(parked);
                }
                Changes::Next { position, .. } => parked.position = position,
            }
        }
    }

    fn park(&mut self, parked: Parked) {
        if self.parked.len() >= PARKED_SWEEP {
            self.parked.retain(|parked| !parked.answer.is_closed());
        }
        self.parked.push(parked);
    }

    fn cursor(&self, number: u64) -> Cursor {
        let state = self.database.state();
        let nobody = acp_base::EpochId { number: 0, id: Uid::from_u128(0) };
        let epoch = state.identity().map_or(nobody, |identity| identity.epoch);
        Cursor { epoch, index: state.index(), boot: self.boot, number }
    }

    fn standing(&self) -> Standing {
        let state = self.database.state();
        Standing {
            identity: state.identity().cloned(),
            index: state.index(),
            hash: state.hash().to_string(),
            objects: state.len(),
            slots: self.database.slots().len(),
            stalled: state.stalled().map(ToString::to_string).unwrap_or_default(),
        }
    }
}
