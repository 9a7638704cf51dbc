//! The handle.

use std::{
    collections::BTreeSet,
    ffi::CStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use acp_base::Uid;
use acp_io_daemon::Tasks;
use openraft::{
    ChangeMembers, EmptyNode, EntryPayload, RaftLogReader as _,
    error::{ChangeMembershipError, CheckIsLeaderError, ClientWriteError, RaftError},
    raft::ClientWriteResponse,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    applier::Replica,
    error::{ChangeError, Closed, FoundError, OpenError, ProposeError, ReadError},
    links::Links,
    machine::Machine,
    network::Network,
    node::{self, Node, Order, State},
    options::Options,
    serve::{self, Desk},
    status::{Role, Status},
    store::{Place, SYSTEM_VFS},
    transport::{AnyTransport, Transport},
    types::{Command, Taken, Types, Voter},
};

/// Proposals under way at once; more wait for their turn. Callers batch, so a few keep the disk and the network busy.
const PROPOSALS_MAX: usize = 64;

/// Orders waiting for the node's task: founding and ending, which nobody does twice.
const ORDERS_MAX: usize = 4;

/// How long a founded group of one may take to elect itself before the founder is answered anyway.
const FIRST_ELECTION_LIMIT: Duration = Duration::from_secs(5);

/// How long a change of the group may take: two entries, and a learner's catching up.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// What becomes of voters that are voters no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Former {
    /// They are sent the log until they are removed. Not for those that may have lost theirs.
    Learner,
    /// They leave the group.
    Gone,
}

/// A node's part in a group. Cheap to clone; all clones are the same node.
pub struct Raft<M: Machine> {
    shared: Arc<Shared>,
    machine: std::marker::PhantomData<fn() -> M>,
}

struct Shared {
    options: Arc<Options>,
    network: Network,
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<State>,
    status: watch::Receiver<Status>,
    proposals: Semaphore,
    yielding: AtomicBool,
}

impl<M: Machine> Clone for Raft<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), machine: std::marker::PhantomData }
    }
}

impl<M: Machine> std::fmt::Debug for Raft<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Raft").field("status", &*self.shared.status.borrow()).finish_non_exhaustive()
    }
}

impl<M: Machine> Raft<M> {
    /// Opens the log, verifies it, brings the machine to where the log stands, and takes part. `machine` is empty.
    ///
    /// # Errors
    /// [`OpenError`]; files of a log that is refused stay as they are.
    pub async fn open<T: Transport>(
        options: Options,
        machine: M,
        transport: T,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        Self::open_through(SYSTEM_VFS, options, machine, transport, tasks).await
    }

    /// Opens the log through this virtual file system of SQLite, by the name it is registered under: the seam at which a
    /// test puts a failing disk.
    ///
    /// # Errors
    /// As [`Raft::open`].
    pub async fn open_through<T: Transport>(
        vfs: &CStr,
        options: Options,
        machine: M,
        transport: T,
        tasks: &Tasks,
    ) -> Result<Self, OpenError> {
        if options.lease < options.heartbeat * 2 {
            return Err(OpenError::Times);
        }
        let place = Place { vfs: vfs.to_owned(), directory: options.directory.clone(), node: options.node };
        let opened = node::open(&place).await?;
        let options = Arc::new(options);
        let links = Arc::new(Links::default());
        {
            let mut heard = links.lock();
            (heard.group, heard.learns) = (opened.1.group, opened.1.learns);
        }
        let transport: Arc<dyn AnyTransport> = Arc::new(transport);
        let network = Network { transport, links, me: options.node, pause: options.heartbeat };
        let (orders, order_queue) = mpsc::channel(ORDERS_MAX);
        let (state, mut running) = watch::channel(State::Starting);
        let (status, status_seen) = watch::channel(Status::default());
        let node = Node {
            options: Arc::clone(&options),
            place,
            network: network.clone(),
            replica: Some(Replica::new(machine)),
            orders: order_queue,
            state,
            status,
        };
        tasks.spawn("raft", node.run(opened));
        let started = running.wait_for(|state| !matches!(state, State::Starting)).await.map(|state| state.clone());
        match started {
            Ok(State::Failed(reason)) => return Err(OpenError::Store { doing: "start the log", reason }),
            Ok(_) => {}
            Err(_ended) => return Err(OpenError::closed()),
        }
        let shared = Shared {
            options,
            network,
            orders,
            state: running,
            status: status_seen,
            proposals: Semaphore::new(PROPOSALS_MAX),
            yielding: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared), machine: std::marker::PhantomData })
    }

    /// Whether this node belongs to a group.
    pub fn is_founded(&self) -> bool {
        self.shared.network.links.lock().group.is_some()
    }

    /// Founds a group of this node alone, which begins with this image, or with the machine as it is. Returns when it leads.
    ///
    /// # Errors
    /// [`FoundError::Founded`] if it belongs to a group; see [`Raft::forget`].
    pub async fn found(&self, image: Option<Vec<u8>>) -> Result<(), FoundError> {
        self.order(|done| Order::Found { image, done }).await?;
        let mut status = self.status();
        let leads = status.wait_for(|status| status.is_leader() || matches!(status.role, Role::Failed(_)));
        drop(timeout(FIRST_ELECTION_LIMIT, leads).await);
        Ok(())
    }

    /// Leaves the group without asking it: the log, the vote and the snapshot are removed, and the machine stays as it is
    /// until it is given another group's snapshot. Only for a node that its group has removed, or for a group that is given
    /// up: a voter that forgets can break its group's promises.
    ///
    /// # Errors
    /// [`FoundError::Failed`] if the store fails.
    pub async fn forget(&self) -> Result<(), FoundError> {
        self.order(|done| Order::Forget { done }).await
    }

    async fn order<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, FoundError>>) -> Order,
    ) -> Result<T, FoundError> {
        let (done, answer) = oneshot::channel();
        self.shared.orders.send(order(done)).await.map_err(|_ended| FoundError::Ended)?;
        let answer = answer.await.map_err(|_ended| FoundError::Ended)?;
        // The node runs again before anybody hears that it has a group.
        let mut state = self.shared.state.clone();
        drop(state.wait_for(|state| !matches!(state, State::Starting)).await);
        answer
    }

    /// Has a command ordered and applied; answers what the machine answered here.
    ///
    /// # Errors
    /// [`ProposeError`] tells apart whether anything has changed.
    pub async fn propose(&self, command: Vec<u8>) -> Result<M::Answer, ProposeError> {
        let _turn = self.shared.proposals.acquire().await.map_err(|_closed| ProposeError::Ended)?;
        let desk = self.desk().map_err(ProposeError::from)?;
        if self.shared.yielding.load(Ordering::Acquire) || desk.links.lock().silent {
            return Err(ProposeError::NotLeader { leader: None });
        }
        // Where others vote, a full disk ends this node's lead instead.
        let directory = &self.shared.options.directory;
        if self.shared.status.borrow().voters.len() == 1 && !acp_io_store::has_room(directory) {
            return Err(ProposeError::Full(directory.clone()));
        }
        let taken = Taken::watched();
        let command = Command { bytes: command.into(), taken: taken.clone() };
        let written = timeout(self.shared.options.propose_limit, desk.core.client_write(command)).await;
        let is_taken = taken.is_set();
        match written {
            Err(_elapsed) => Err(ProposeError::Unknown("no majority has confirmed it in time".into())),
            Ok(Ok(written)) => match written.data.answer.map(|answer| answer.downcast::<M::Answer>()) {
                Some(Ok(answer)) => Ok(*answer),
                Some(Err(_)) | None => Err(ProposeError::Unknown("it was applied without an answer".into())),
            },
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(other)))) if !is_taken => {
                Err(ProposeError::NotLeader { leader: other.leader_id.map(|leader| leader.0) })
            }
            // Another leader took the entry out of this node's log; a third may still hold it and be elected.
            Ok(Err(RaftError::APIError(error))) => Err(ProposeError::Unknown(error.to_string())),
            Ok(Err(RaftError::Fatal(error))) if is_taken => Err(ProposeError::Unknown(error.to_string())),
            Ok(Err(RaftError::Fatal(error))) => Err(ProposeError::Failed(error.to_string())),
        }
    }

    /// Answers another voter's frame. Who sent it must be certain.
    pub async fn serve(&self, from: Uid, frame: Vec<u8>) -> Vec<u8> {
        serve::serve(self.desk().ok(), from, &frame).await
    }

    /// The state of affairs and every change of it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// At the leader: an index such that a machine that has applied it has seen everything acknowledged before this call. A
    /// majority is asked whether this node still leads.
    ///
    /// # Errors
    /// [`ReadError::NotLeader`] and [`ReadError::NoQuorum`].
    pub async fn read_index(&self) -> Result<u64, ReadError> {
        let desk = self.desk().map_err(ReadError::from)?;
        if desk.links.lock().silent {
            return Err(ReadError::NoQuorum);
        }
        match desk.core.get_read_log_id().await {
            Ok((committed, _applied)) => {
                let index = committed.map_or(0, |log_id| log_id.index);
                // Openraft counts this node among those that hold an entry before its disk does.
                let stored = timeout(self.shared.options.lease, desk.log.durable().reach(committed)).await;
                let stored = stored.map_err(|_elapsed| ReadError::Behind(index))?;
                stored.map(|()| index).map_err(ReadError::Failed)
            }
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(other))) => {
                Err(ReadError::NotLeader { leader: other.leader_id.map(|leader| leader.0) })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => Err(ReadError::NoQuorum),
            Err(RaftError::Fatal(error)) => Err(ReadError::Failed(error.to_string())),
        }
    }

    /// Waits until this node's machine has applied the entry, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::Behind`].
    pub async fn wait_applied(&self, index: u64, limit: Duration) -> Result<(), ReadError> {
        let mut status = self.status();
        match timeout(limit, status.wait_for(|status| status.applied >= index)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_ended)) => Err(ReadError::Ended),
            Err(_elapsed) => Err(ReadError::Behind(index)),
        }
    }

    /// The commands in this node's log that it has not applied, in order: a majority may have acknowledged them, and this node
    /// alone cannot tell. For whoever gives the group up and goes on with what one voter has.
    ///
    /// # Errors
    /// [`ReadError::Failed`].
    pub async fn unapplied(&self) -> Result<Vec<Vec<u8>>, ReadError> {
        let desk = self.desk().map_err(ReadError::from)?;
        let mut next = self.shared.status.borrow().applied + 1;
        let (mut log, mut commands) = (desk.log.clone(), Vec::new());
        loop {
            let read = log.try_get_log_entries(next..).await;
            let entries = read.map_err(|error| ReadError::Failed(error.to_string()))?;
            let Some(last) = entries.last() else { return Ok(commands) };
            next = last.log_id.index + 1;
            commands.extend(entries.into_iter().filter_map(|entry| match entry.payload {
                EntryPayload::Normal(command) => Some(command.bytes.to_vec()),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            }));
        }
    }

    /// Has a node sent the log; returns when it holds what was committed before. For one that is a learner or a voter already
    /// nothing changes.
    ///
    /// # Errors
    /// [`ChangeError`]. Unknown if it does not catch up in time; it is then a learner all the same.
    pub async fn add_learner(&self, node: Uid) -> Result<(), ChangeError> {
        let desk = self.changing()?;
        let adding = desk.core.add_learner(Voter(node), EmptyNode::new(), false);
        let added = timeout(CHANGE_LIMIT, adding).await;
        let index = changed(added)?;
        if node == self.shared.options.node {
            return Ok(());
        }
        let holds =
            |status: &Status| !status.is_leader() || status.peers.get(&node).is_some_and(|peer| peer.matched >= index);
        match timeout(CHANGE_LIMIT, self.status().wait_for(holds)).await {
            Ok(Ok(status)) if status.is_leader() => Ok(()),
            Ok(Ok(status)) => Err(ChangeError::NotLeader { leader: status.leader }),
            Ok(Err(_ended)) => Err(ChangeError::Ended),
            Err(_elapsed) => Err(ChangeError::Unknown(format!("node {node} does not catch up"))),
        }
    }

    /// Has nodes no longer sent the log.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove_learners(&self, nodes: BTreeSet<Uid>) -> Result<(), ChangeError> {
        let desk = self.changing()?;
        let change = ChangeMembers::RemoveNodes(nodes.into_iter().map(Voter).collect());
        let removed = timeout(CHANGE_LIMIT, desk.core.change_membership(change, false)).await;
        changed(removed).map(drop)
    }

    /// Makes exactly these nodes voters; each is one already or a learner. Returns when it is committed. A change that another
    /// leader has left half-way is finished by the next.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn set_voters(&self, voters: BTreeSet<Uid>, former: Former) -> Result<(), ChangeError> {
        if voters.is_empty() {
            return Err(ChangeError::Empty);
        }
        let desk = self.changing()?;
        self.check_learned(&voters)?;
        let voters: BTreeSet<Voter> = voters.into_iter().map(Voter).collect();
        let learns = former == Former::Learner;
        let changing = desk.core.change_membership(ChangeMembers::ReplaceAllVoters(voters), learns);
        changed(timeout(CHANGE_LIMIT, changing).await).map(drop)
    }

    /// A node joins its group as a learner only, so it must hold the log before it has a vote.
    fn check_learned(&self, voters: &BTreeSet<Uid>) -> Result<(), ChangeError> {
        let status = self.shared.status.borrow();
        let holds_log = |voter: &Uid| status.peers.get(voter).is_some_and(|peer| peer.matched > 0);
        let missing = |voter: &&Uid| {
            status.is_leader()
                && **voter != self.shared.options.node
                && !status.voters.contains(voter)
                && !holds_log(voter)
        };
        voters.iter().find(missing).map_or(Ok(()), |missing| Err(ChangeError::NotLearner(*missing)))
    }

    fn changing(&self) -> Result<Desk, ChangeError> {
        let desk = self.desk().map_err(ChangeError::from)?;
        if self.shared.yielding.load(Ordering::Acquire) {
            return Err(ChangeError::Busy);
        }
        Ok(desk)
    }

    /// Ends: the database is closed when this returns.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.shared.orders.send(Order::End { done }).await.is_ok() {
            // A task that ended by itself has nothing to say.
            drop(ended.await);
        }
    }

    pub(crate) fn desk(&self) -> Result<Desk, Closed> {
        match &*self.shared.state.borrow() {
            State::Running(desk) => Ok(desk.clone()),
            State::Starting => Err(Closed::Failed("it is being opened".into())),
            State::Failed(reason) => Err(Closed::Failed(reason.clone())),
            State::Ended => Err(Closed::Ended),
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn network(&self) -> &Network {
        &self.shared.network
    }

    pub(crate) fn yielding(&self) -> &AtomicBool {
        &self.shared.yielding
    }
}

type Changed = Result<ClientWriteResponse<Types>, RaftError<Voter, ClientWriteError<Voter, EmptyNode>>>;

/// The index of the change.
fn changed(done: Result<Changed, tokio::time::error::Elapsed>) -> Result<u64, ChangeError> {
    match done {
        Err(_elapsed) => Err(ChangeError::Unknown("it took too long".into())),
        Ok(Ok(change)) => Ok(change.log_id.index),
        Ok(Err(RaftError::Fatal(error))) => Err(ChangeError::Unknown(error.to_string())),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(other)))) => {
            Err(ChangeError::NotLeader { leader: other.leader_id.map(|leader| leader.0) })
        }
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => Err(match error {
            ChangeMembershipError::InProgress(_) => ChangeError::Busy,
            ChangeMembershipError::EmptyMembership(_) => ChangeError::Empty,
            ChangeMembershipError::LearnerNotFound(missing) => ChangeError::NotLearner(missing.node_id.0),
        }),
    }
}
