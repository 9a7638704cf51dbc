//! The log as openraft sees it: the newest entries in memory, all of them on disk.
//!
//! Openraft 0.9 sends an entry to the others only when the leader's own log has confirmed it. A leader's log therefore confirms
//! at once what it was given, so that its disk writes while the others' do. A follower's confirms what is on its disk, because
//! the leader counts that.
//!
//! **Invariants**: nothing is made of an entry that this node's disk does not hold ([`Durable`](super::Durable)): it is not
//! applied, no other node is told that it is committed, no read stands on it. Votes are stored after every entry that was
//! confirmed before. A change of the group's members counts here when this disk holds it, since the next change relies on it.
//! A leader that starts again does not lead on: entries of its term may have left this node without reaching its disk, and new
//! ones in their places would have the same names.

use std::{
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};

use super::{
    Durable, Recovered, Store, disk,
    recent::{Recent, cost},
};
use crate::{
    error::OpenError,
    types::{Entry, LogId, StorageError, StorageIo, Types, Vote, Voter},
};

/// Bytes of entries in one message to a peer; a single larger entry travels alone.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A handle to the log. Cheap to clone; clones read.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    store: Store,
    recent: Arc<Mutex<Recent>>,
    me: Voter,
}

impl Log {
    pub(crate) fn new(store: Store, recovered: &Recovered, me: Voter) -> Self {
        let recent = Recent::new(recovered, me);
        Self { store, recent: Arc::new(Mutex::new(recent)), me }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.recent().last
    }

    /// The last entry known to be committed that is on this node's disk.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.recent().committed.min(self.durable().stored())
    }

    /// How far it is on stable storage.
    pub(crate) const fn durable(&self) -> &Durable {
        self.store.durable()
    }

    /// Whether this node leads by the vote it has stored last: openraft stores a vote before it does anything by it.
    fn leads(&self) -> bool {
        self.recent().vote.is_some_and(|vote| vote.is_committed() && vote.leader_id().voted_for() == Some(self.me))
    }

    /// What was to be stored up to here was, or was not.
    fn note_written(&self, upto: LogId, written: &Result<(), OpenError>) {
        match written {
            Ok(()) => {
                self.durable().store(upto);
                self.recent().trim(upto.index);
            }
            Err(error) => self.durable().fail(&error.to_string()),
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries of a half-open range, as many as make so many bytes.
    async fn read(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, OpenError> {
        let (from, before, newest) = self.read_memory(from, to, bytes_max);
        if from >= before {
            return Ok(newest);
        }
        let (mut entries, is_all) = self.store.run(move |disk| disk.entries(from, before, bytes_max)).await?;
        if is_all {
            let mut size: usize = entries.iter().map(cost).sum();
            entries.extend(newest.into_iter().take_while(|entry| {
                let fits = size < bytes_max;
                size += cost(entry);
                fits
            }));
        }
        Ok(entries)
    }

    /// What of a range memory holds, and the part of the range before that, which is on disk.
    fn read_memory(&self, from: u64, to: u64, bytes_max: usize) -> (u64, u64, Vec<Entry>) {
        let recent = self.recent();
        let first = recent.purged.map_or(0, |purged| purged.index + 1);
        let end = recent.last.map_or(0, |last| last.index + 1);
        let (from, to) = (from.max(first), to.min(end));
        if from >= to {
            return (from, from, Vec::new());
        }
        let before = recent.entries.first_key_value().map_or(to, |(index, _)| *index).clamp(from, to);
        let mut size = 0;
        let newest = recent.entries.range(before..to).map(|(_, entry)| entry.clone()).take_while(|entry| {
            let fits = size == 0 || size < bytes_max;
            size += cost(entry);
            fits
        });
        (from, before, newest.collect())
    }

    async fn read_or_fail(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<Entry>, StorageError> {
        let entries = self.read(from, to, bytes_max).await;
        entries.map_err(|error| StorageIo::read_logs(AnyError::error(error)).into())
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read_or_fail(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.read_or_fail(start, end, MESSAGE_BYTES_MAX).await
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let recent = self.recent();
        Ok(LogState { last_purged_log_id: recent.purged, last_log_id: recent.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = *vote;
        let done = self.store.run(move |disk| disk.save_vote(&saved)).await;
        done.map_err(|error| StorageIo::write_vote(AnyError::error(error)))?;
        self.recent().vote = Some(saved);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.recent().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.recent().committed = committed;
        let noted = self.store.send(Box::new(move |disk| disk.committed = committed)).await;
        noted.map_err(|error| StorageIo::write_logs(AnyError::error(error)).into())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.recent().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let failed = |error: String| StorageError::from(StorageIo::write_logs(AnyError::error(error)));
        // What follows a snapshot must not be acknowledged before the snapshot is on disk.
        let purged = self.recent().purged;
        if let Some(purged) = purged {
            self.store.covers(purged).await.map_err(|error| failed(error.to_string()))?;
        }
        if let Some(reason) = self.durable().failure() {
            return Err(failed(reason));
        }
        let (mut rows, mut last, mut changes_members) = (Vec::new(), None, false);
        for mut entry in entries {
            changes_members |= matches!(entry.payload, EntryPayload::Membership(_));
            last = Some(entry.log_id);
            if let EntryPayload::Normal(command) = &mut entry.payload {
                std::mem::take(&mut command.taken).set();
            }
            rows.push((entry.log_id.index, disk::encode(&entry).map_err(|error| failed(error.to_string()))?));
            self.recent().push(entry);
        }
        let Some(last) = last else {
            callback.log_io_completed(Ok(()));
            return Ok(());
        };
        let (at_once, when_stored) =
            if self.leads() && !changes_members { (Some(callback), None) } else { (None, Some(callback)) };
        self.durable().give(last);
        let log = self.clone();
        let write = move |disk: &mut disk::Disk| {
            let written = disk.append(&rows);
            log.note_written(last, &written);
            if let Some(callback) = when_stored {
                callback.log_io_completed(written.map_err(io::Error::other));
            }
        };
        self.store.send(Box::new(write)).await.map_err(|error| failed(error.to_string()))?;
        if let Some(callback) = at_once {
            callback.log_io_completed(Ok(()));
        }
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let from = log_id.index;
        let before = match from.checked_sub(1) {
            Some(index) => self.read_or_fail(index, from, usize::MAX).await?.pop().map(|entry| entry.log_id),
            None => None,
        };
        {
            let mut recent = self.recent();
            let gone = recent.entries.split_off(&from);
            recent.remove(gone);
            recent.last = before.or(recent.purged);
            self.durable().cut(recent.last);
        }
        let done = self.store.run(move |disk| disk.truncate(from)).await;
        done.map_err(|error| StorageIo::write_logs(AnyError::error(error)).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        {
            let mut recent = self.recent();
            let kept = recent.entries.split_off(&(log_id.index + 1));
            let gone = std::mem::replace(&mut recent.entries, kept);
            recent.remove(gone);
            recent.purged = recent.purged.max(Some(log_id));
            recent.last = recent.last.max(Some(log_id));
            self.durable().store(log_id);
        }
        let done = self.store.run(move |disk| disk.purge(log_id)).await;
        done.map_err(|error| StorageIo::write_logs(AnyError::error(error)).into())
    }
}
