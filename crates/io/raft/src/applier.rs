//! The machine behind openraft's interface: applies entries, takes and installs snapshots.
//!
//! **Invariants**: no entry is applied that this node's disk does not hold. The machine has one owner at a time. When openraft lets go of it, because its store failed, the machine
//! comes back whole and goes on where it stands once the store works again.

use std::{
    io::Cursor,
    sync::{Arc, Mutex, PoisonError},
};

use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder, storage::RaftStateMachine};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::{
    machine::Machine,
    store::Store,
    types::{Entry, LogId, Membership, Reply, Snapshot, SnapshotMeta, StorageError, StorageIo, Types},
};

/// A machine and how far the log was applied to it.
pub(crate) struct Replica<M> {
    pub(crate) machine: M,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: Membership,
    /// Bytes of commands since the last snapshot.
    pub(crate) bytes: u64,
}

impl<M: Machine> Replica<M> {
    pub(crate) fn new(machine: M) -> Self {
        Self { machine, applied: None, membership: Membership::default(), bytes: 0 }
    }

    /// Puts a snapshot in the place of what is there.
    pub(crate) fn restore(&mut self, meta: &SnapshotMeta, image: &[u8]) -> Result<(), String> {
        self.machine.restore(image)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.bytes = 0;
        Ok(())
    }

    fn apply(&mut self, entry: Entry) -> Reply {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => Reply::default(),
            EntryPayload::Normal(command) => {
                self.bytes += u64::try_from(command.bytes.len()).unwrap_or(u64::MAX);
                Reply { answer: Some(Box::new(self.machine.apply(&command.bytes))) }
            }
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership);
                Reply::default()
            }
        }
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: Uuid::now_v7().simple().to_string(),
        }
    }
}

/// What openraft holds while it runs.
pub(crate) struct Applier<M: Machine> {
    /// In a mutex only because openraft wants what it holds to be `Sync`; it is never locked.
    replica: Mutex<Option<Replica<M>>>,
    home: Option<oneshot::Sender<Replica<M>>>,
    store: Store,
    bytes_max: u64,
    is_large: Arc<Notify>,
}

impl<M: Machine> Applier<M> {
    /// Lends a replica; it comes back through the receiver, unless the machine panicked. `is_large` is told when more than
    /// `bytes_max` bytes of commands have been applied since the last snapshot.
    pub(crate) fn lend(
        replica: Replica<M>,
        store: Store,
        bytes_max: u64,
        is_large: Arc<Notify>,
    ) -> (Self, oneshot::Receiver<Replica<M>>) {
        let (home, back) = oneshot::channel();
        (Self { replica: Mutex::new(Some(replica)), home: Some(home), store, bytes_max, is_large }, back)
    }

    fn replica(&mut self) -> &mut Replica<M> {
        let replica = self.replica.get_mut().unwrap_or_else(PoisonError::into_inner);
        replica.as_mut().expect("it is taken out only when this is dropped")
    }
}

impl<M: Machine> Drop for Applier<M> {
    fn drop(&mut self) {
        let replica = self.replica.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A machine that panicked is in nobody knows which state.
        if let (Some(home), Some(replica), false) = (self.home.take(), replica, std::thread::panicking()) {
            drop(home.send(replica));
        }
    }
}

impl<M: Machine> RaftStateMachine<Types> for Applier<M> {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let replica = self.replica();
        Ok((replica.applied, replica.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Reply>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        if let Some(last) = entries.last().map(|entry| entry.log_id) {
            let stored = self.store.durable().reach(Some(last)).await;
            stored.map_err(|reason| StorageIo::apply(last, AnyError::error(reason)))?;
        }
        let bytes_max = self.bytes_max;
        let replica = self.replica();
        let replies = entries.into_iter().map(|entry| replica.apply(entry)).collect();
        if replica.bytes > bytes_max {
            replica.bytes = 0;
            self.is_large.notify_one();
        }
        Ok(replies)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let store = self.store.clone();
        let replica = self.replica();
        replica.bytes = 0;
        Builder { meta: replica.meta(), image: Mutex::new(Some(replica.machine.image())), store }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let failed = |error| StorageError::from(StorageIo::write_snapshot(Some(meta.signature()), error));
        let image = snapshot.into_inner();
        // First on disk: a machine that is ahead of what is stored could not come back after a crash.
        self.store.save_snapshot(meta.clone(), &image).await.map_err(|error| failed(AnyError::error(error)))?;
        self.replica().restore(meta, &image).map_err(|reason| failed(AnyError::error(reason)))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let found = self.store.run(|disk| disk.snapshot()).await;
        let found = found.map_err(|error| StorageIo::read_snapshot(None, AnyError::error(error)))?;
        Ok(found.map(|(meta, image)| Snapshot { meta, snapshot: Box::new(Cursor::new(image)) }))
    }
}

type Encode = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Makes bytes of an image while the log goes on.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    /// In a mutex only because openraft wants what it holds to be `Sync`.
    image: Mutex<Option<Encode>>,
    store: Store,
}

impl RaftSnapshotBuilder<Types> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let meta = self.meta.clone();
        let failed = |error| StorageError::from(StorageIo::write_snapshot(Some(meta.signature()), error));
        let encode = self.image.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let encode = encode.ok_or_else(|| failed(AnyError::error("a snapshot is built once")))?;
        let image = tokio::task::spawn_blocking(encode).await.map_err(|error| failed(AnyError::new(&error)))?;
        self.store.save_snapshot(meta.clone(), &image).await.map_err(|error| failed(AnyError::error(error)))?;
        Ok(Snapshot { meta: meta.clone(), snapshot: Box::new(Cursor::new(image)) })
    }
}
