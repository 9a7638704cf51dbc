//! The one task that follows a log, proves what comes and hands it to the replica.
//!
//! It holds one stream, to the source that it prefers among those that answer: this node's own hub where it has one, else a
//! controller's, else a neighbour. It leaves a source that falls silent, ends or sends what does not prove, one that has lost
//! its quorum for one that has it, and goes back to a better one as soon as that answers.
//!
//! **Invariants**: one source at a time; entries reach the replica in order and once; a disk that fails delays them and loses
//! none.

pub(crate) mod choice;
mod search;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::Failure;
use acp_core_cdb::State;
use acp_io_client::Client;
use acp_io_store::StoreError;
use acp_wire_api::cluster::{Checkpoint, ControllerKey, FollowReply};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::search::Search;
use crate::{
    departure,
    error::sentence,
    following::Following,
    founding,
    intake::{Intake, Position, Proven, Refused, Restored},
    keys::Keys,
    metrics,
    moves::{Mover, Switch},
    peers::Peers,
    replica::Replica,
    source::{Source, Stream},
};

/// How long a source may be silent. It promises a word every 2 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// How often a better source than the one that is followed is tried.
const PREFER_EVERY: Duration = Duration::from_secs(3);

/// How long a source may be without a quorum before another one is looked for: an election is over by then.
const DEGRADED_MAX: Duration = Duration::from_secs(2);

/// How long a source is avoided after it has sent what does not prove.
const AVOID: Duration = Duration::from_secs(60);

/// The pauses between rounds in which nobody answered.
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(50);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often the agent is asked for a controller that nobody here knows.
const DIRECTORY_EVERY: Duration = Duration::from_secs(5);

/// What is said by a node that was taken out.
const DEPARTED: &str =
    "this node was taken out of its cluster: it keeps what is on it as it is, until it leaves or is brought back";

/// The pause before a disk that failed is tried again.
const DISK_PAUSE: Duration = Duration::from_millis(100);

/// Why a source is left.
#[derive(Debug)]
enum Left {
    /// It went away or fell silent.
    Lost(Failure),
    /// It sent what does not prove.
    Refused(Refused),
    /// A better one may be there now, or something else is to be done first.
    Review,
    /// The log goes on with the entry that takes this node out.
    Departed,
    /// The replica has stalled.
    Stalled(String),
    /// The store cannot be believed any more.
    Store(StoreError),
}

impl From<Refused> for Left {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for Left {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A source that has answered.
#[derive(Debug)]
pub(crate) struct Opened {
    source: Source,
    stream: Stream,
    first: FollowReply,
}

impl Opened {
    /// Whether nothing new is ordered where this comes from.
    pub(crate) const fn is_degraded(&self) -> bool {
        !self.first.degraded.is_empty()
    }

    /// Who answered.
    pub(crate) const fn source(&self) -> &Source {
        &self.source
    }

    /// Who answered, the stream, and the first reply.
    pub(crate) fn into_parts(self) -> (Source, Stream, FollowReply) {
        (self.source, self.stream, self.first)
    }
}

/// What the follower needs of the daemon.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) client: Client,
    pub(crate) peers: watch::Receiver<Arc<Peers>>,
    pub(crate) following: Following,
    /// Where the newest position that somebody vouches for is told.
    pub(crate) checkpoint: watch::Sender<Option<Checkpoint>>,
    /// What is asked by `Enter` and `Part`.
    pub(crate) switches: mpsc::Receiver<Switch>,
    /// Who hears of a store that cannot be believed any more.
    pub(crate) failed: mpsc::Sender<StoreError>,
}

/// Follows.
#[derive(Debug)]
pub(crate) struct Follower {
    around: Surroundings,
    replica: Replica,
    mover: Mover,
    /// Why the replica does not apply further entries, if it does not.
    stalled: Option<String>,
    /// Whether the log takes this node out: what comes then is not followed.
    departed: bool,
    /// Where the log begins that this node's hub has founded, before its first entry is here.
    start: Option<Position>,
    /// Whether this node's hub surely has the log that it should have.
    handed_over: bool,
    avoided: BTreeMap<Source, Instant>,
    /// The controllers of the agent's directory, and when it may be asked for them again.
    directory: (Instant, Vec<ControllerKey>),
}

impl Follower {
    /// A follower for this replica, which has stalled if `stalled` says why.
    pub(crate) fn new(around: Surroundings, replica: Replica, mover: Mover, stalled: Option<String>) -> Self {
        Self {
            around,
            replica,
            mover,
            stalled,
            departed: false,
            start: None,
            handed_over: false,
            avoided: BTreeMap::new(),
            directory: (Instant::now(), Vec::new()),
        }
    }

    /// Runs until the drain, or until the store cannot be believed.
    pub(crate) async fn run(mut self, drain: CancellationToken) {
        tokio::select! {
            () = drain.cancelled() => {}
            error = self.follow_on() => drop(self.around.failed.send(error).await),
        }
    }

    /// One source after another. Ends with an error after which nothing can be stored any more.
    async fn follow_on(&mut self) -> StoreError {
        let mut pause = ROUND_PAUSE_MIN;
        loop {
            match self.mover.settle(&mut self.replica, &self.around).await {
                Ok(true) => (self.stalled, self.departed) = (None, false),
                Ok(false) => {}
                Err(error) => return error,
            }
            if let Some(reason) = self.stalled.clone() {
                self.stay_stalled(reason).await;
                continue;
            }
            if self.departed {
                self.stay_departed().await;
                continue;
            }
            let left = match self.next_source().await {
                Ok(opened) => {
                    pause = ROUND_PAUSE_MIN;
                    let source = opened.source.clone();
                    let left = self.follow(opened).await;
                    self.leave(&source, &left);
                    left
                }
                Err(reason) => {
                    self.handed_over = false;
                    self.around.following.lost(reason);
                    tokio::select! {
                        () = sleep(pause) => {}
                        switch = self.around.switches.recv() => self.mover.take(switch),
                    }
                    pause = (pause * 2).min(ROUND_PAUSE_MAX);
                    continue;
                }
            };
            match left {
                Left::Store(error) => return error,
                Left::Stalled(reason) => self.stalled = Some(reason),
                Left::Departed => self.departed = true,
                Left::Lost(_) | Left::Refused(_) | Left::Review => {}
            }
        }
    }

    /// Goes on with nothing: an upgrade, which is another life, can read what this version cannot. Entering another cluster
    /// is possible all the same.
    async fn stay_stalled(&mut self, reason: String) {
        tracing::error!(reason, "the log goes on with what this version cannot apply");
        let closed = format!("this replica has stopped applying the log: {reason}");
        self.around.following.close(Some(Failure::unavailable(closed)));
        self.around.following.trouble(reason);
        let switch = self.around.switches.recv().await;
        self.mover.take(switch);
    }

    /// Keeps what this node has, until it goes on alone or is in the cluster again.
    async fn stay_departed(&mut self) {
        self.around.following.close(Some(Failure::precondition(DEPARTED)));
        self.around.following.lost(DEPARTED.to_owned());
        // What was begun and has failed is tried again.
        if let Ok(switch) = timeout(PREFER_EVERY, self.around.switches.recv()).await {
            self.mover.take(switch);
        }
    }

    /// The first of the sources that answers, in the order of preference.
    async fn next_source(&mut self) -> Result<Opened, String> {
        let position = self.begin().await?;
        let peers = Arc::clone(&self.around.peers.borrow_and_update());
        let now = Instant::now();
        self.avoided.retain(|_, until| *until > now);
        let candidates = choice::all(&peers, &self.avoided);
        choice::first(&self.around.client, &candidates, &position.request(peers.is_alone())).await
    }

    /// Where to go on. Without a log this node's hub founds one; a hub that has lost its own is given this one.
    async fn begin(&mut self) -> Result<Position, String> {
        let Some(position) = self.position().await else {
            let founded = founding::found(&self.around.client, self.mover.identity()).await;
            return Ok(self.start.insert(founded).clone());
        };
        let is_sole = {
            let peers = self.around.peers.borrow();
            peers.is_controller && peers.controllers.is_empty()
        };
        if is_sole && !self.handed_over && position.index > 0 {
            let handed = founding::hand_over(&self.around.client, self.mover.identity(), self.replica.database()).await;
            handed.map_err(|failure| failure.message)?;
            self.handed_over = true;
        }
        Ok(position)
    }

    async fn position(&self) -> Option<Position> {
        let here = self.replica.database().look(Position::of).await.ok().flatten();
        here.or_else(|| self.start.clone())
    }

    /// Follows a source until there is a reason to leave it.
    async fn follow(&mut self, opened: Opened) -> Left {
        let (source, mut stream, first) = opened.into_parts();
        let Some(position) = self.position().await else { return Left::Review };
        let alone = self.around.peers.borrow().is_alone();
        let mut intake = Intake::new(source.trust(alone), position);
        tracing::info!(%source, "following");
        let mut reply = Ok(first);
        let mut review = Instant::now() + PREFER_EVERY;
        let mut is_degraded = false;
        let mut search = Search::default();
        loop {
            let was_degraded = std::mem::replace(&mut is_degraded, is_without_quorum(&reply));
            if is_degraded && !was_degraded {
                review = review.min(Instant::now() + DEGRADED_MAX);
            }
            if let Err(left) = self.take(&source, &mut intake, reply).await {
                return left;
            }
            reply = loop {
                tokio::select! {
                    next = timeout(SILENCE_MAX, stream.next()) => break next.unwrap_or_else(|_elapsed| {
                        Err(Failure::unavailable(format!("{source} has been silent for {SILENCE_MAX:?}")))
                    }),
                    switch = self.around.switches.recv() => {
                        self.mover.take(switch);
                        return Left::Review;
                    }
                    () = tokio::time::sleep_until(review) => {
                        if self.mover.is_due() {
                            return Left::Review;
                        }
                        review = Instant::now() + PREFER_EVERY;
                        if !search.is_under_way() {
                            search = self.search(&source, is_degraded).await;
                        }
                    }
                    is_better = search.found() => {
                        if is_better {
                            return Left::Review;
                        }
                    }
                }
            };
        }
    }

    /// Looks for a source that is preferred to this one and as good: one that has no quorum is followed only while nobody has it.
    async fn search(&self, source: &Source, is_degraded: bool) -> Search {
        let candidates = choice::all(&self.around.peers.borrow(), &self.avoided);
        let better: Vec<_> = if is_degraded {
            candidates.into_iter().filter(|candidate| candidate != source).collect()
        } else {
            candidates.into_iter().take_while(|candidate| candidate != source).collect()
        };
        let Some(position) = self.position().await.filter(|_| !better.is_empty()) else { return Search::default() };
        Search::begin(self.around.client.clone(), better, position.request(false))
    }

    /// One reply, from what it says to what is applied.
    async fn take(
        &mut self,
        source: &Source,
        intake: &mut Intake,
        reply: Result<FollowReply, Failure>,
    ) -> Result<(), Left> {
        let reply = reply.map_err(Left::Lost)?;
        let (degraded, is_current) = (degraded(source, &reply), reply.degraded.is_empty());
        self.around.following.heard(source, degraded, is_current);
        if let Some(bytes) = intake.take(reply)? {
            intake.restored(restore(bytes).await?)?;
        }
        let keys = self.keys(intake).await;
        let proven = intake.release(&keys)?;
        self.apply(proven).await
    }

    async fn apply(&mut self, proven: Proven) -> Result<(), Left> {
        let Proven { snapshot, entries, checkpoint } = proven;
        let node = self.mover.identity().node;
        if let Some(restored) = snapshot {
            if departure::is_in(self.replica.database(), node, &restored.state).await.map_err(Left::Lost)? {
                return Err(Left::Departed);
            }
            // A failed installation is told of and ends the daemon: it is tried again by the next life.
            self.replica.install(restored).await?;
        }
        let departure = self.replica.before_departure(node, &entries).await.map_err(Left::Lost)?;
        let stalled = self.append(&entries[..departure.unwrap_or(entries.len())]).await?;
        if departure.is_some() && stalled.is_none() {
            return Err(Left::Departed);
        }
        if let Some(checkpoint) = checkpoint {
            self.around.checkpoint.send_replace(Some(checkpoint));
        }
        stalled.map_or(Ok(()), |reason| Err(Left::Stalled(reason)))
    }

    /// Stores and applies, however often the disk fails.
    async fn append(&mut self, entries: &[Vec<u8>]) -> Result<Option<String>, StoreError> {
        loop {
            match self.replica.append(entries).await {
                // After either of them the store goes on as if the batch had not been tried.
                Err(error @ (StoreError::Full | StoreError::Sqlite { .. })) => {
                    let reason = sentence(&error);
                    tracing::error!(reason, "entries could not be stored");
                    let reason = format!("the last write to the cluster database failed: {reason}");
                    self.around.following.trouble(reason);
                    sleep(DISK_PAUSE).await;
                }
                appended => {
                    if appended.is_ok() {
                        self.around.following.trouble(String::new());
                    }
                    return appended;
                }
            }
        }
    }

    /// By what this stream is verified: the controllers that the replica knows, those that were told when the cluster was
    /// entered, and, for one that neither knows, those of the directory that the agent has from the control plane.
    async fn keys(&mut self, intake: &Intake) -> Keys {
        let mut keys = self.around.peers.borrow().keys.clone();
        keys.extend(self.mover.controllers());
        keys.extend(&self.directory.1);
        let now = Instant::now();
        if let Some(signer) = intake.signer().filter(|signer| !keys.know(*signer) && self.directory.0 <= now) {
            tracing::debug!(%signer, "an unknown controller has signed; the agent is asked for it");
            self.directory = (now + DIRECTORY_EVERY, choice::directory_keys(&self.around.client).await);
            keys.extend(&self.directory.1);
        }
        keys
    }

    /// Says why the source is left, once.
    fn leave(&mut self, source: &Source, left: &Left) {
        match left {
            Left::Lost(failure) => {
                tracing::info!(%source, reason = %failure.message, "the source was lost");
                self.around.following.lost(format!("{source} went away: {}", failure.message));
            }
            Left::Refused(refused) => {
                metrics::refused();
                tracing::error!(%source, reason = %refused, "what a source sent does not count; it is avoided");
                self.around.following.lost(format!("what {source} sent does not count: {refused}"));
                self.avoided.insert(source.clone(), Instant::now() + AVOID);
            }
            Left::Departed => tracing::warn!(%source, "{DEPARTED}"),
            Left::Review | Left::Stalled(_) | Left::Store(_) => {}
        }
    }
}

/// Whether whoever says this has no quorum.
fn is_without_quorum(reply: &Result<FollowReply, Failure>) -> bool {
    reply.as_ref().is_ok_and(|reply| !reply.degraded.is_empty())
}

/// Why nothing new is ordered, as this source has it.
fn degraded(source: &Source, reply: &FollowReply) -> String {
    if source.is_hub() {
        return reply.degraded.clone();
    }
    let reason = if reply.degraded.is_empty() { "" } else { ": " };
    format!("no controller can be reached; what is new comes from {source}{reason}{}", reply.degraded)
}

/// The state of a snapshot. Reading a full cluster's takes a while.
pub(crate) async fn restore(bytes: Vec<u8>) -> Result<Restored, Refused> {
    let restoring = tokio::task::spawn_blocking(|| State::restore(&bytes).map(|state| Restored { state, bytes })).await;
    match restoring {
        Ok(Ok(restored)) => Ok(restored),
        Ok(Err(error)) => Err(Refused::Snapshot(sentence(&error))),
        Err(error) => Err(Refused::Snapshot(error.to_string())),
    }
}
