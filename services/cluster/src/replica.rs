//! What is proven becomes durable, then applied: the only way into the store and the database.
//!
//! **Invariant**: the database never holds what the store does not; a reader hears of an entry when it is on stable storage.

use std::sync::Arc;

use acp_base::{Failure, Uid};
use acp_core_cdb::{Hash, Image, State, decode};
use acp_io_failpoint::{Injected, point};
use acp_io_store::{Anchor, Row, Snapshot, Store, StoreError};
use tokio::sync::watch;

use crate::{departure, error::sentence, intake::Restored, service::Handle};

/// This node's copy of the log and of what it says.
#[derive(Debug)]
pub(crate) struct Replica {
    store: Arc<Store>,
    database: Handle,
    noted: watch::Sender<u64>,
    at: Anchor,
}

impl Replica {
    /// A replica whose store and database stand at `at`. `noted` says up to which index the stored log is applied and its
    /// refusals are noted.
    pub(crate) const fn new(store: Arc<Store>, database: Handle, noted: watch::Sender<u64>, at: Anchor) -> Self {
        Self { store, database, noted, at }
    }

    /// The database.
    pub(crate) const fn database(&self) -> &Handle {
        &self.database
    }

    /// How many of these entries, which follow, come before the one that takes this node out; none if it is not among them.
    pub(crate) async fn before_departure(&self, node: Uid, entries: &[Vec<u8>]) -> Result<Option<usize>, Failure> {
        departure::before(&self.database, node, entries, self.at.index + 1).await
    }

    /// Stores and applies entries that follow. Answers why the replica has stalled, if it has.
    pub(crate) async fn append(&mut self, entries: &[Vec<u8>]) -> Result<Option<String>, StoreError> {
        let rows = self.rows(entries);
        let Some(last) = rows.last().map(|row| Anchor { index: row.index, hash: row.hash, time_ms: row.time_ms })
        else {
            return Ok(None);
        };
        self.store.append(rows).await?;
        point("cluster.write.stored").map_err(not_stored)?;
        self.at = last;
        let committed = self.database.commit(entries.to_vec()).await.map_err(|_ended| StoreError::Closed)?;
        if !committed.refusals.is_empty()
            && let Err(error) = self.store.refuse(committed.refusals).await
        {
            // The next start finds the same refusals by applying the log again.
            tracing::warn!(reason = sentence(&error), "refusals could not be noted");
        }
        self.noted.send_replace(last.index);
        Ok(committed.stalled)
    }

    /// Puts a state in the place of everything.
    pub(crate) async fn install(&mut self, restored: Restored) -> Result<(), StoreError> {
        let Restored { state, bytes } = restored;
        let at = Anchor { index: state.index(), hash: state.hash().bytes(), time_ms: state.time().0 };
        self.store.reset(Snapshot { at, bytes }).await?;
        point("cluster.install.stored").map_err(not_stored)?;
        self.at = at;
        self.database.replace(state).await.map_err(|_ended| StoreError::Closed)?;
        self.noted.send_replace(at.index);
        tracing::info!(index = at.index, "a snapshot has taken the place of this replica");
        Ok(())
    }

    fn rows(&self, entries: &[Vec<u8>]) -> Vec<Row> {
        let (mut hash, mut time_ms) = (Hash::from_bytes(self.at.hash), self.at.time_ms);
        let row = |(bytes, index): (&Vec<u8>, u64)| {
            hash = hash.link(bytes);
            // An entry that cannot be read stalls the replica, and has the time of the one before it until then.
            time_ms = decode(bytes, index).map_or(time_ms, |entry| entry.time.0);
            Row { index, hash: hash.bytes(), time_ms, bytes: bytes.clone(), refused: None }
        };
        entries.iter().zip(self.at.index + 1..).map(row).collect()
    }
}

/// The state as it is restored from its own bytes. Encoding takes a while: call it where nobody waits.
pub(crate) fn encoded(state: State) -> Option<Restored> {
    let bytes = state.image().map(Image::encode)?;
    Some(Restored { state, bytes })
}

fn not_stored(injected: Injected) -> StoreError {
    StoreError::Io { doing: "store entries", source: injected.into() }
}
