//! The one task that owns the database, and the handle by which others ask it.
//!
//! **Invariants**: everything is answered from one state, in the order asked; nothing here waits for a disk or a socket. A
//! watch costs nothing but its position while nothing happens: it asks for what came after, and its question is parked.

mod handle;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use acp_base::{EpochId, Failure, Name, Uid};
use acp_core_cdb::{Changes, Cursor, Database, Event, Heard, Outcome, Record, State, View, WatchFilter};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use handle::{Handle, Stood};

use self::handle::{Look, Request};
use crate::{epoch::Epoch, metrics, peers::Peers, proposer::PROPOSALS_MAX};

/// Requests waiting for the owner. Beyond it askers wait; the owner answers hundreds of thousands a second.
const REQUESTS_MAX: usize = 1_024;

/// Requests answered before watches are looked at: changes that come together are told together.
const ROUND_MAX: usize = 256;

/// Parked questions after which those of watches that have ended are looked for: as many as watches can be open.
const PARKED_SWEEP: usize = 1_024;

/// Callers waiting for an index to be applied.
const WAITING_MAX: usize = 4_096;

/// Objects remembered as single entries left them, until the proposers of those entries have asked: as many as may be proposed
/// at once. What others proposed is pushed out; with what belongs to it an object is 2 KB.
const WRITTEN_MAX: usize = PROPOSALS_MAX;

/// Where a replica stands.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Which cluster it is of; none before its first entry.
    pub(crate) cluster: Option<Uid>,
    /// In which epoch; none before the first entry.
    pub(crate) epoch: Option<Epoch>,
    /// The level of entries and formats that may occur.
    pub(crate) feature_level: u32,
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

/// What a batch came to.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The entries that were refused, with their reasons.
    pub(crate) refusals: Vec<(u64, String)>,
    /// Why no further entry is applied, if that is so.
    pub(crate) stalled: Option<String>,
}

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

    /// A snapshot stands here.
    const fn begin(&mut self, index: u64) {
        self.last = index;
    }

    /// The log is applied up to here.
    pub(crate) fn reached(&mut self, index: u64) {
        if index.saturating_sub(self.last) >= self.every {
            self.last = index;
            self.due.notify_one();
        }
    }
}

/// What tells whether who is who may have changed: membership, this node's own object, the epoch, and the state's replacement.
type Seen = (u64, Option<u64>, Option<EpochId>, u64);

/// Tells who is who, as often as it changes.
#[derive(Debug)]
pub(crate) struct Announcer {
    node: Uid,
    name: Name,
    seen: Seen,
    replaced: u64,
    peers: watch::Sender<Arc<Peers>>,
}

impl Announcer {
    /// Who is who in this state, for the node with this id that its framework calls `name`.
    pub(crate) fn new(state: &State, node: Uid, name: &Name) -> Self {
        let peers = watch::Sender::new(Arc::new(Peers::of(state, node, name, 0)));
        Self { node, name: name.clone(), seen: Self::version(state, node, 0), replaced: 0, peers }
    }

    /// What is told.
    pub(crate) fn told(&self) -> watch::Receiver<Arc<Peers>> {
        self.peers.subscribe()
    }

    fn look(&mut self, state: &State) {
        let version = Self::version(state, self.node, self.replaced);
        if std::mem::replace(&mut self.seen, version) != version {
            self.peers.send_replace(Arc::new(Peers::of(state, self.node, &self.name, self.replaced)));
        }
    }

    fn version(state: &State, node: Uid, replaced: u64) -> Seen {
        let own = state.get(node).map(|record| record.version);
        (state.members().revision(), own, state.epoch(), replaced)
    }
}

/// The owner of the database.
#[derive(Debug)]
pub(crate) struct Service {
    database: Database,
    announcer: Announcer,
    /// Objects as the newest entries left them, by the entries' indices, unless their proposers have asked.
    written: VecDeque<(u64, Arc<Record>)>,
    boot: Uid,
    requests: mpsc::Receiver<Request>,
    parked: Vec<Parked>,
    waiting: BTreeMap<u64, Vec<oneshot::Sender<Result<(), Failure>>>>,
    snapshots: Snapshots,
    /// Woken when this node's reporters have said something.
    said: Arc<Notify>,
}

impl Service {
    /// An owner of this state, and its handle. `boot` names this life.
    pub(crate) fn new(state: State, boot: Uid, snapshots: Snapshots, announcer: Announcer) -> (Self, Handle) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let said = Arc::new(Notify::new());
        let service = Self {
            database: Database::new(state),
            announcer,
            written: VecDeque::new(),
            boot,
            requests,
            parked: Vec::new(),
            waiting: BTreeMap::new(),
            snapshots,
            said: Arc::clone(&said),
        };
        (service, Handle { requests: sender, said })
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
            if self.database.has_said() {
                self.said.notify_one();
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
            Request::Commit { entries, answer } => drop(answer.send(self.commit(&entries))),
            Request::Replace { state, answer } => drop(answer.send(self.replace(*state))),
            Request::Written { index, uid, answer } => drop(answer.send(self.written(index, uid))),
            Request::Look(Look(look)) => look(self.database.state()),
            Request::Get { kind, key, here, answer } => {
                let found =
                    self.database.get(kind, &key, Some(&here)).map(|view| (view, self.database.state().index()));
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
            Request::Said { answer } => drop(answer.send(self.database.take_said())),
            Request::Hear { heard, stood, answer } => drop(answer.send(self.hear(heard, stood))),
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

    /// Takes what other nodes say; answers which of it is of objects that are not known here, by place.
    fn hear(&mut self, heard: Vec<Heard>, stood: Vec<Stood>) -> Vec<usize> {
        let mut unknown = Vec::new();
        for (place, heard) in heard.into_iter().enumerate() {
            let (node, reporter) = (heard.origin, Arc::clone(&heard.slot.reporter));
            match self.database.hear(heard) {
                Ok(true) => metrics::heard("taken"),
                Ok(false) => unknown.push(place),
                Err(refusal) => {
                    metrics::heard("refused");
                    tracing::debug!(%node, %reporter, reason = refusal.message, "what another node says is not taken");
                }
            }
        }
        for Stood { origin, reporter, at } in stood {
            self.database.stood(origin, &reporter, at);
        }
        unknown
    }

    /// Applies a batch.
    fn commit(&mut self, entries: &[Vec<u8>]) -> Committed {
        let mut committed = Committed::default();
        for entry in entries {
            let outcome = self.database.apply(entry);
            metrics::outcome(&outcome);
            let index = self.database.state().index();
            match outcome {
                Outcome::Done(done) => self.remember(index, done.record()),
                Outcome::Refused(refusal) => committed.refusals.push((index, refusal.message)),
                Outcome::Stalled(stall) => {
                    committed.stalled = Some(stall.to_string());
                    break;
                }
            }
        }
        self.moved();
        committed
    }

    /// Goes on from another state; watches begin anew. Answers its index.
    fn replace(&mut self, state: State) -> u64 {
        self.database.replace(state);
        self.announcer.replaced += 1;
        self.written.clear();
        let index = self.database.state().index();
        self.snapshots.begin(index);
        self.moved();
        index
    }

    /// The log is applied further than before.
    fn moved(&mut self) {
        self.announcer.look(self.database.state());
        self.snapshots.reached(self.database.state().index());
        self.release_waiting();
        if let Some(stall) = self.database.state().stalled() {
            for answer in std::mem::take(&mut self.waiting).into_values().flatten() {
                drop(answer.send(Err(stall.clone().into())));
            }
        }
    }

    fn remember(&mut self, index: u64, record: Option<&Arc<Record>>) {
        let Some(record) = record else { return };
        if self.written.len() >= WRITTEN_MAX {
            self.written.pop_front();
        }
        self.written.push_back((index, Arc::clone(record)));
    }

    /// The object as the entry left it; where that is not remembered, as it is now.
    fn written(&mut self, index: u64, uid: Uid) -> Option<Arc<Record>> {
        let found = self.written.binary_search_by_key(&index, |(index, _)| *index).ok();
        let remembered = found.and_then(|at| self.written.remove(at)).map(|(_, record)| record);
        remembered.or_else(|| self.database.state().get(uid).cloned())
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
        let nobody = EpochId { number: 0, id: Uid::from_u128(0) };
        let epoch = state.epoch().unwrap_or(nobody);
        Cursor { epoch, index: state.index(), boot: self.boot, number }
    }

    fn standing(&self) -> Standing {
        let state = self.database.state();
        Standing {
            cluster: state.identity().map(|identity| identity.cluster),
            epoch: state.epoch().map(Epoch::from),
            feature_level: state.feature_level(),
            index: state.index(),
            hash: state.hash().to_string(),
            objects: state.len(),
            slots: self.database.slots().len(),
            stalled: state.stalled().map(ToString::to_string).unwrap_or_default(),
        }
    }
}
