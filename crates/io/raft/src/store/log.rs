//! The log as openraft sees it: the newest entries in memory, all of them on disk.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader,
    storage::{LogFlushed, RaftLogStorage},
};

use super::{Recovered, Store, disk};
use crate::{
    error::OpenError,
    types::{Entry, LogId, StorageError, StorageIo, Types, Vote},
};

/// Bytes of entries kept in memory, for the machine and for peers that are up to date: some full batches. Others' are read from
/// the disk.
const RECENT_BYTES_MAX: usize = 2 << 20;

/// Bytes of entries in one message to a peer; a single larger entry travels alone.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What an entry costs beside its command.
const ENTRY_BYTES: usize = 128;

/// What is known of the log without asking the disk.
#[derive(Debug, Default)]
struct Recent {
    /// The newest entries, without gap up to the last.
    entries: BTreeMap<u64, Entry>,
    bytes: usize,
    /// Up to here everything is on stable storage.
    flushed: Option<u64>,
    purged: Option<LogId>,
    last: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Recent {
    fn push(&mut self, entry: Entry) {
        self.bytes += cost(&entry);
        self.last = Some(entry.log_id);
        if let Some(replaced) = self.entries.insert(entry.log_id.index, entry) {
            self.bytes -= cost(&replaced);
        }
    }

    /// Forgets the oldest entries that are on disk, as far as there are too many.
    fn trim(&mut self) {
        while self.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = self.entries.first_entry()
            && self.flushed >= Some(*oldest.key())
        {
            self.bytes -= cost(&oldest.remove());
        }
    }

    fn remove(&mut self, gone: BTreeMap<u64, Entry>) {
        self.bytes -= gone.values().map(cost).sum::<usize>();
    }
}

fn cost(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => ENTRY_BYTES + command.bytes.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_BYTES,
    }
}

/// A handle to the log. Cheap to clone; clones read.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    store: Store,
    recent: Arc<Mutex<Recent>>,
    /// The vote and the last entry that were there when this was opened.
    found: (Option<Vote>, Option<LogId>),
}

impl Log {
    pub(crate) fn new(store: Store, recovered: &Recovered) -> Self {
        let recent = Recent {
            purged: recovered.purged,
            last: recovered.last,
            vote: recovered.vote,
            committed: recovered.committed,
            flushed: recovered.last.map(|last| last.index),
            ..Recent::default()
        };
        Self { store, recent: Arc::new(Mutex::new(recent)), found: (recovered.vote, recovered.last) }
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.recent().last
    }

    /// The last entry that was there when this was opened, as long as the vote that was there holds. Whoever leads on by that
    /// vote may have acknowledged it before: which entries were committed is on disk only now and then.
    pub(crate) fn found(&self) -> Option<LogId> {
        let (vote, last) = self.found;
        last.filter(|_| vote == self.recent().vote)
    }

    /// The last entry known to be committed.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.recent().committed
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
        let mut rows = Vec::new();
        for mut entry in entries {
            if let EntryPayload::Normal(command) = &mut entry.payload {
                std::mem::take(&mut command.taken).set();
            }
            rows.push((entry.log_id.index, disk::encode(&entry).map_err(|error| failed(error.to_string()))?));
            self.recent().push(entry);
        }
        let recent = Arc::clone(&self.recent);
        let last = rows.last().map(|(index, _)| *index);
        let write = move |disk: &mut disk::Disk| {
            let written = disk.append(&rows).map_err(io::Error::other);
            if written.is_ok() {
                let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
                recent.flushed = last;
                recent.trim();
            }
            callback.log_io_completed(written);
        };
        self.store.send(Box::new(write)).await.map_err(|error| failed(error.to_string()))
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
            recent.flushed = recent.flushed.min(from.checked_sub(1));
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
            recent.flushed = recent.flushed.max(Some(log_id.index));
        }
        let done = self.store.run(move |disk| disk.purge(log_id)).await;
        done.map_err(|error| StorageIo::write_logs(AnyError::error(error)).into())
    }
}
