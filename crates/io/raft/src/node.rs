//! The task that owns a node's part: it opens the store, runs openraft over it, and does so again when the store fails.
//!
//! An error of the disk ends openraft's core. The machine comes back from it whole, the database is closed and opened again,
//! and a new core goes on from what is on disk. Nothing acknowledged is lost by that: what was acknowledged is on disk.

use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc, time::Duration};

use acp_base::Uid;
use openraft::{CommittedLeaderId, Config, EmptyNode, SnapshotPolicy};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    applier::{Applier, Replica},
    elector::Elector,
    error::{FoundError, OpenError},
    machine::Machine,
    network::{Lines, Network},
    options::Options,
    serve::Desk,
    status::{Role, Status, status_of},
    store::{Log, Place, Recovered, Store},
    types::{Core, LogId, Membership, SnapshotMeta, Voter},
};

/// The first pause before the store is opened again; each is twice the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest: an operator who has made room does not want to wait.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How long one message of a snapshot may take; the last one is answered when the snapshot is installed.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(15);

/// Bytes of a snapshot in one message.
const SNAPSHOT_PIECE_BYTES: u64 = 256 << 10;

/// Entries in one message; the log reader bounds their bytes.
const MESSAGE_ENTRIES_MAX: u64 = 512;

/// How long openraft's shutdown and the machine's way back may take: there is at most a machine's batch to be applied.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What the task is asked to do.
pub(crate) enum Order {
    Found { image: Option<Vec<u8>>, done: oneshot::Sender<Result<(), FoundError>> },
    Forget { done: oneshot::Sender<Result<(), FoundError>> },
    End { done: oneshot::Sender<()> },
}

/// What others see of a node.
#[derive(Clone, Default)]
pub(crate) enum State {
    /// Its store is open, and openraft is about to run.
    Starting,
    /// It runs.
    Running(Desk),
    /// The store failed, for this reason.
    Failed(String),
    #[default]
    Ended,
}

/// An opened store.
pub(crate) type Opened = (Store, Recovered);

/// See the module.
pub(crate) struct Node<M: Machine> {
    pub(crate) options: Arc<Options>,
    pub(crate) place: Place,
    pub(crate) network: Network,
    pub(crate) replica: Option<Replica<M>>,
    pub(crate) orders: mpsc::Receiver<Order>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) status: watch::Sender<Status>,
}

impl<M: Machine> Node<M> {
    /// Runs until it is told to end.
    pub(crate) async fn run(mut self, first: Opened) {
        let mut opened: Result<Opened, OpenError> = Ok(first);
        let mut pause = PAUSE_MIN;
        loop {
            let began = Instant::now();
            let ended = match opened {
                Ok(opened) => self.serve(opened).await,
                Err(error) => ControlFlow::Continue(Some(error.to_string())),
            };
            match ended {
                ControlFlow::Break(()) => break,
                ControlFlow::Continue(None) => pause = PAUSE_MIN,
                ControlFlow::Continue(Some(reason)) => {
                    pause = if began.elapsed() > PAUSE_MAX { PAUSE_MIN } else { (pause * 2).min(PAUSE_MAX) };
                    self.fail(reason);
                    if self.pause(pause).await.is_break() {
                        break;
                    }
                }
            }
            if self.replica.is_none() {
                self.fail("the machine panicked while it applied an entry; a restart is needed".into());
                while self.pause(PAUSE_MAX).await.is_continue() {}
                break;
            }
            opened = Store::open(self.place.clone()).await;
        }
        self.state.send_replace(State::Ended);
        self.status.send_modify(|status| status.role = Role::Ended);
    }

    fn fail(&self, reason: String) {
        if !matches!(&*self.state.borrow(), State::Failed(before) if *before == reason) {
            tracing::error!(reason, "the log failed and is opened again until it works");
        }
        self.status.send_modify(|status| status.role = Role::Failed(reason.clone()));
        self.state.send_replace(State::Failed(reason));
    }

    /// Waits; orders cannot be fulfilled meanwhile.
    async fn pause(&mut self, pause: Duration) -> ControlFlow<()> {
        let reason = match &*self.state.borrow() {
            State::Failed(reason) => reason.clone(),
            State::Starting | State::Running(_) | State::Ended => String::new(),
        };
        let until = Instant::now() + pause;
        loop {
            let order = match tokio::time::timeout_at(until, self.orders.recv()).await {
                Err(_elapsed) => return ControlFlow::Continue(()),
                Ok(None) => return ControlFlow::Break(()),
                Ok(Some(order)) => order,
            };
            match order {
                Order::Found { done, .. } | Order::Forget { done } => {
                    tell(done, Err(FoundError::Failed(reason.clone())));
                }
                Order::End { done } => {
                    tell(done, ());
                    return ControlFlow::Break(());
                }
            }
        }
    }

    /// Runs openraft over an opened store until it ends: by an order (`Break`, or `Continue(None)` if it is to run again), or
    /// because something failed, for a reason.
    async fn serve(&mut self, (store, recovered): Opened) -> ControlFlow<(), Option<String>> {
        self.state.send_replace(State::Starting);
        let Some(mut replica) = self.replica.take() else { return ControlFlow::Continue(None) };
        if let Some((meta, image)) = &recovered.snapshot
            && meta.last_log_id > replica.applied
            && let Err(reason) = replica.restore(meta, image)
        {
            self.replica = Some(replica);
            store.close().await;
            return ControlFlow::Continue(Some(format!("the snapshot cannot be used: {reason}")));
        }
        if replica.applied > recovered.last.max(recovered.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id)) {
            self.replica = Some(replica);
            store.close().await;
            return ControlFlow::Continue(Some("the disk does not hold entries that it had stored".into()));
        }
        {
            let mut heard = self.network.links.lock();
            (heard.group, heard.learns) = (recovered.group, recovered.learns);
            (heard.silent, heard.leader) = (false, None);
        }
        let me = Voter(self.options.node);
        let log = Log::new(store.clone(), &recovered, me);
        let is_large = Arc::new(Notify::new());
        let (applier, back) = Applier::lend(replica, store.clone(), self.options.snapshot_bytes, Arc::clone(&is_large));
        let lines = Lines { network: self.network.clone(), durable: log.durable().clone() };
        let core = Core::new(me, Arc::new(self.config()), lines, log.clone(), applier).await;
        let (ended, order) = match core {
            Err(error) => (ControlFlow::Continue(Some(error.to_string())), None),
            Ok(core) => {
                let links = Arc::clone(&self.network.links);
                let desk = Desk { core, log, store: store.clone(), links, lease: self.options.lease };
                self.attend(&desk, &is_large).await
            }
        };
        self.replica = match tokio::time::timeout(END_LIMIT, back).await {
            Ok(Ok(replica)) => Some(replica),
            Ok(Err(_)) | Err(_) => None,
        };
        let ended = self.finish(&store, order).await.unwrap_or(ended);
        store.close().await;
        ended
    }

    /// Attends a running core; answers why it was ended, and the order that ended it.
    async fn attend(&mut self, desk: &Desk, is_large: &Notify) -> (ControlFlow<(), Option<String>>, Option<Order>) {
        let elector = Elector::new(desk.core.clone(), self.network.clone(), desk.log.clone(), &self.options);
        let mut elections = std::pin::pin!(elector.run());
        let mut metrics = desk.core.metrics();
        self.observe(desk);
        self.state.send_replace(State::Running(desk.clone()));
        let mut elections_end = false;
        let ended = loop {
            tokio::select! {
                changed = metrics.changed() => {
                    let failed = metrics.borrow_and_update().running_state.as_ref().err().map(ToString::to_string);
                    if let Some(reason) = failed.or_else(|| changed.is_err().then(|| "the log's core ended".into())) {
                        break (ControlFlow::Continue(Some(reason)), None);
                    }
                    self.observe(desk);
                }
                // A leader's log confirms before it is stored, so openraft does not hear of this until it is asked for more.
                reason = desk.log.durable().failed() => break (ControlFlow::Continue(Some(reason)), None),
                () = &mut elections, if !elections_end => elections_end = true,
                () = is_large.notified() => {
                    // A core that has ended says so above.
                    drop(desk.core.trigger().snapshot().await);
                }
                order = self.orders.recv() => match order {
                    None => break (ControlFlow::Break(()), None),
                    Some(Order::Found { done, .. }) if self.network.links.lock().group.is_some() => {
                        let group = self.network.links.lock().group.unwrap_or_else(|| Uid::from_u128(0));
                        tell(done, Err(FoundError::Founded(group)));
                    }
                    Some(order) => break (ControlFlow::Continue(None), Some(order)),
                },
            }
        };
        if let Err(error) = desk.core.shutdown().await {
            tracing::warn!(%error, "the log's core did not end well");
        }
        ended
    }

    /// Publishes what the core says of itself.
    fn observe(&self, desk: &Desk) {
        let metrics = desk.core.metrics().borrow().clone();
        let status = {
            let mut heard = self.network.links.lock();
            let membership = metrics.membership_config.membership();
            let configs = membership.get_joint_config().iter();
            heard.configs = configs.map(|voters| voters.iter().map(|voter| voter.0).collect::<BTreeSet<_>>()).collect();
            heard.learners = membership.learner_ids().map(|learner| learner.0).collect();
            status_of(&metrics, &heard, desk.log.committed(), self.options.node)
        };
        self.status.send_if_modified(|before| {
            let changed = *before != status;
            *before = status;
            changed
        });
    }

    /// Does what could not be done while openraft ran.
    async fn finish(&mut self, store: &Store, order: Option<Order>) -> Option<ControlFlow<(), Option<String>>> {
        match order? {
            Order::Found { image, done } => {
                self.state.send_replace(State::Starting);
                let founded = self.found(store, image).await;
                tell(done, founded);
            }
            Order::Forget { done } => {
                self.state.send_replace(State::Starting);
                let forgotten = store.run(|disk| disk.forget()).await;
                if forgotten.is_ok()
                    && let Some(replica) = &mut self.replica
                {
                    (replica.applied, replica.membership) = (None, Membership::default());
                }
                tell(done, forgotten.map_err(|error| FoundError::Failed(error.to_string())));
            }
            Order::End { done } => {
                store.clone().close().await;
                tell(done, ());
                return Some(ControlFlow::Break(()));
            }
        }
        None
    }

    /// Writes the first snapshot of a group of this node alone. It stands at index 0, before every entry, and holds the
    /// membership: whoever joins later begins with a snapshot and never with the machine it happens to have.
    async fn found(&mut self, store: &Store, image: Option<Vec<u8>>) -> Result<(), FoundError> {
        let replica = self.replica.as_mut().ok_or(FoundError::Ended)?;
        let voters = BTreeSet::from([Voter(self.options.node)]);
        let first = LogId::new(CommittedLeaderId::new(0, Voter(self.options.node)), 0);
        let membership = openraft::Membership::<Voter, EmptyNode>::new(vec![voters], ());
        let meta = SnapshotMeta {
            last_log_id: Some(first),
            last_membership: Membership::new(Some(first), membership),
            snapshot_id: Uuid::now_v7().simple().to_string(),
        };
        let image = match image {
            Some(image) => image,
            None => replica.machine.image()(),
        };
        replica.restore(&meta, &image).map_err(FoundError::Image)?;
        let group = Uid::from(Uuid::now_v7());
        let written = store.run(move |disk| disk.found(group, &meta, &image)).await;
        if let Err(error) = written {
            (replica.applied, replica.membership) = (None, Membership::default());
            return Err(FoundError::Failed(error.to_string()));
        }
        tracing::info!(%group, "a group was founded");
        Ok(())
    }

    fn config(&self) -> Config {
        let options = &self.options;
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Config {
            cluster_name: "acp".into(),
            heartbeat_interval: ms(options.heartbeat),
            // Elections are decided by the elector; what remains of these is the lease (the greater) and how long a vote may
            // take (the lesser).
            enable_elect: false,
            election_timeout_min: ms(options.lease * 3 / 4),
            election_timeout_max: ms(options.lease),
            install_snapshot_timeout: ms(SNAPSHOT_LIMIT),
            snapshot_max_chunk_size: SNAPSHOT_PIECE_BYTES,
            max_payload_entries: MESSAGE_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries),
            max_in_snapshot_log_to_keep: options.entries_kept,
            replication_lag_threshold: options.snapshot_entries.saturating_mul(2),
            ..Config::default()
        }
    }
}

/// Opens the store for the first time.
pub(crate) async fn open(place: &Place) -> Result<Opened, OpenError> {
    Store::open(place.clone()).await
}

/// Whoever asked may have gone.
fn tell<T>(done: oneshot::Sender<T>, answer: T) {
    if done.send(answer).is_err() {
        tracing::debug!("nobody waits for the answer");
    }
}
