//! This hub's seat among the voters: whether it has one, the log that comes with it, and who leads.
//!
//! **Invariant**: what the record says is on stable storage before the log is opened, begun or removed because of it; a hub
//! that is killed between any two steps goes on where it was.

use std::{
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use acp_base::{Code, Failure, Uid, sentence};
use acp_io_daemon::Tasks;
use acp_io_pki::Authority;
use acp_io_raft::{FoundError, OpenError, Options, Raft, Role, Status};
use tokio::{
    sync::{Mutex, MutexGuard, watch},
    time::{Instant, sleep, timeout_at},
};

use crate::{
    error::StartError,
    log::{Log, Replica},
    peers::Peers,
    persist::{Record, Records},
};

/// How long a node waits at its start until its own log is applied, if it is the only voter. It needs nobody else for it.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// The pause after a hub that was taken for the leader has said that it is not.
const PAUSE: Duration = Duration::from_millis(30);

/// Who leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leader {
    /// Absent: this hub.
    pub(crate) elsewhere: Option<Uid>,
}

/// This hub's seat.
#[derive(Debug)]
pub(crate) struct Seat {
    records: Records,
    /// Whoever holds it changes the seat.
    record: Mutex<Record>,
    /// A log that was begun anew is not kept yet.
    is_beginning: AtomicBool,
    raft: OnceLock<Raft<Log>>,
    status: watch::Sender<Status>,
    replica: Replica,
    peers: Peers,
    tasks: Tasks,
}

impl Seat {
    /// The seat that a record speaks of; [`Self::open`] opens its log.
    pub(crate) fn new(records: Records, record: Record, replica: Replica, peers: Peers, tasks: Tasks) -> Self {
        let (record, status) = (Mutex::new(record), watch::Sender::default());
        let is_beginning = AtomicBool::new(false);
        Self { records, record, is_beginning, raft: OnceLock::new(), status, replica, peers, tasks }
    }

    /// Opens the log, if this node has ever had one, and waits until it is applied as far as that needs nobody else.
    pub(crate) async fn open(&self) -> Result<(), StartError> {
        let record = self.record.lock().await;
        let Some(node) = record.node else { return Ok(()) };
        self.open_log(node).await.map_err(StartError::Log)?;
        if self.is_founded() && record.beginning.is_none() {
            // A node that is alone has its whole log here; with others, they can be asked meanwhile.
            let settled = has_settled(self.status.subscribe(), node);
            drop(timeout_at(Instant::now() + SETTLE_LIMIT, settled).await);
        }
        Ok(())
    }

    /// Takes the seat, to change it.
    pub(crate) async fn take(&self) -> MutexGuard<'_, Record> {
        self.record.lock().await
    }

    /// Keeps the record that is held.
    pub(crate) async fn keep(&self, held: &mut Record, record: Record) -> Result<(), Failure> {
        let records = self.records.clone();
        *held = blocking(move || records.write(&record).map(|()| record)).await??;
        Ok(())
    }

    /// Opens the log of this node, empty or not.
    pub(crate) async fn open_log(&self, node: Uid) -> Result<&Raft<Log>, OpenError> {
        if self.raft.get().is_none() {
            let options = Options::new(self.directory(), node);
            let raft = Raft::open(options, self.replica.machine(), self.peers.clone(), &self.tasks).await?;
            let (mut seen, status) = (raft.status(), self.status.clone());
            status.send_replace(seen.borrow_and_update().clone());
            self.tasks.spawn("raft-status", async move {
                while seen.changed().await.is_ok() {
                    let now = seen.borrow_and_update().clone();
                    let has_ended = now.role == Role::Ended;
                    status.send_replace(now);
                    if has_ended {
                        return;
                    }
                }
            });
            self.replica.set_here(node);
            drop(self.raft.set(raft));
        }
        Ok(self.raft.get().expect("it was opened"))
    }

    /// Begins a log of this node alone, with the state that is given encoded, or empty.
    pub(crate) async fn found(&self, state: Option<Vec<u8>>) -> Result<(), Failure> {
        let raft = self.raft.get().ok_or_else(no_log)?;
        let image = state.map(Replica::founding_image);
        raft.found(image).await.map_err(|error| match &error {
            FoundError::Founded(_) => Failure::precondition(sentence(&error)),
            FoundError::Image(_) => Failure::invalid(sentence(&error)),
            FoundError::Failed(_) | FoundError::Ended => Failure::unavailable(sentence(&error)),
        })
    }

    /// Removes the log and the authority's key, the key first.
    pub(crate) async fn forget(&self) -> Result<(), Failure> {
        let directory = self.directory();
        let removed = blocking(move || Authority::remove(&directory)).await?;
        removed.map_err(|error| crate::error::pki_failure(&error))?;
        self.replica.set_authority(None);
        self.forget_log().await
    }

    /// Removes the log.
    pub(crate) async fn forget_log(&self) -> Result<(), Failure> {
        if let Some(raft) = self.raft.get() {
            raft.forget().await.map_err(|error| Failure::unavailable(sentence(&error)))?;
        }
        self.replica.clear();
        self.peers.keep(|_peer| false);
        Ok(())
    }

    /// Nothing of others is ordered from now on, because a crash would begin the log again without it; or it is again.
    pub(crate) fn set_beginning(&self, is_beginning: bool) {
        self.is_beginning.store(is_beginning, Ordering::Release);
    }

    /// Refuses what is to be ordered while the log is begun anew.
    pub(crate) fn has_begun(&self) -> Result<(), Failure> {
        if self.is_beginning.load(Ordering::Acquire) {
            return Err(Failure::unavailable("the log begins anew just now"));
        }
        Ok(())
    }

    /// The log, if this node has ever had one.
    pub(crate) fn raft(&self) -> Option<&Raft<Log>> {
        self.raft.get()
    }

    /// Whether this node has a log.
    pub(crate) fn is_founded(&self) -> bool {
        self.raft.get().is_some_and(Raft::is_founded)
    }

    /// How the log is, and each change of it.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Whether this hub leads.
    pub(crate) fn leads(&self) -> bool {
        self.status.borrow().is_leader()
    }

    /// The other voters' hubs.
    pub(crate) const fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Where keys and log lie.
    pub(crate) fn directory(&self) -> PathBuf {
        self.records.directory().to_owned()
    }

    /// The record's file and what lies beside it.
    pub(crate) const fn records(&self) -> &Records {
        &self.records
    }

    /// Who leads; waited for until the deadline.
    pub(crate) async fn leader(&self, deadline: Instant) -> Result<Leader, Failure> {
        if !self.is_founded() {
            return Err(self.no_log());
        }
        let mut status = self.status.subscribe();
        let found = async {
            loop {
                let leader = {
                    let status = status.borrow_and_update();
                    if status.is_leader() { Some(None) } else { status.leader.map(Some) }
                };
                match leader {
                    Some(elsewhere) if elsewhere.is_none() || elsewhere != self.replica.here() => {
                        return Leader { elsewhere };
                    }
                    // Nobody, or this one as others last knew it.
                    _ => drop(status.changed().await),
                }
            }
        };
        timeout_at(deadline, found).await.map_err(|_late| no_leader())
    }

    /// Why there is no log here: it is on its way, or nobody has made this node a controller.
    pub(crate) fn no_log(&self) -> Failure {
        if self.replica.authority().is_some() { crate::error::not_yet() } else { no_log() }
    }

    /// Waits a moment for another leader.
    pub(crate) async fn pause(&self, deadline: Instant) -> Result<(), Failure> {
        if Instant::now() + PAUSE >= deadline {
            return Err(no_leader());
        }
        sleep(PAUSE).await;
        Ok(())
    }
}

/// Returns when everything in the log is applied, or others have to be heard for that.
async fn has_settled(mut status: watch::Receiver<Status>, node: Uid) {
    let settled = |status: &Status| match status.voters.contains(&node) && status.voters.len() == 1 {
        true => status.is_leader() && status.applied >= status.last_index,
        false => !status.voters.is_empty(),
    };
    drop(status.wait_for(settled).await);
}

/// There is no log here.
pub(crate) fn no_log() -> Failure {
    Failure::precondition("there is no cluster here: this hub has no part in any log")
}

fn no_leader() -> Failure {
    Failure::new(Code::Unavailable, "no leader was there in time: the control plane has no quorum just now")
}

/// Does blocking work on a thread of its own.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(error.to_string()))
}
