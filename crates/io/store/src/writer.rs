//! The thread that writes.

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use crate::{
    compact::trim,
    error::StoreError,
    recover::base,
    rows::{Anchor, Chain, Row, Snapshot, to_sql},
    schema,
    witness::Witness,
};

pub(crate) type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Append { rows: Vec<Row>, done: Done<()> },
    Refuse { refusals: Vec<(u64, String)>, done: Done<()> },
    Snapshot { snapshot: Snapshot, done: Done<()> },
    Anchor { snapshot: Snapshot, done: Done<()> },
    Trim { up_to: u64, done: Done<u64> },
    Reset { snapshot: Snapshot, done: Done<()> },
}

/// The one connection that writes, and the position it has reached.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    chain: Chain,
    last: Anchor,
    witness: Witness,
    /// Whether a transaction failed after it may have been written: SQLite counts it for nothing and will write over it, but
    /// what is left of it must never be found beside what another failure leaves.
    in_doubt: bool,
}

impl Writer {
    pub(crate) const fn new(connection: Connection, chain: Chain, last: Anchor, witness: Witness) -> Self {
        Self { connection, chain, last, witness, in_doubt: false }
    }

    /// Serves commands in their order until the store is closed.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            // Whoever asked may have gone; the work is done all the same.
            match command {
                Command::Append { rows, done } => drop(done.send(self.append(&rows))),
                Command::Refuse { refusals, done } => drop(done.send(self.refuse(&refusals))),
                Command::Snapshot { snapshot, done } => drop(done.send(self.snapshot(&snapshot))),
                Command::Anchor { snapshot, done } => drop(done.send(self.anchor(&snapshot))),
                Command::Trim { up_to, done } => {
                    drop(done.send(self.attempt(|connection| trim(connection, up_to))));
                }
                Command::Reset { snapshot, done } => drop(done.send(self.reset(&snapshot))),
            }
        }
        if let Err((_connection, error)) = self.connection.close() {
            tracing::warn!(%error, "the database could not be closed");
        }
    }

    /// Stores a batch: one transaction, one synchronisation. When this returns, the batch is on stable storage.
    fn append(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        for (row, expected) in rows.iter().zip(self.last.index + 1..) {
            if row.index != expected {
                return Err(StoreError::OutOfOrder { expected, found: row.index });
            }
        }
        self.transact("store entries", |connection| {
            let insert = "INSERT INTO log (idx, hash, time_ms, bytes, refused) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = connection.prepare_cached(insert)?;
            for row in rows {
                statement.execute(params![to_sql(row.index), row.hash, to_sql(row.time_ms), row.bytes, row.refused])?;
            }
            Ok(())
        })?;
        if let Some(row) = rows.last() {
            self.last = Anchor { index: row.index, hash: row.hash, time_ms: row.time_ms };
            self.witness.reached(self.last);
        }
        Ok(())
    }

    fn refuse(&mut self, refusals: &[(u64, String)]) -> Result<(), StoreError> {
        self.transact("note refusals", |connection| {
            let mut statement = connection.prepare_cached("UPDATE log SET refused = ?2 WHERE idx = ?1")?;
            for (index, reason) in refusals {
                statement.execute(params![to_sql(*index), reason])?;
            }
            Ok(())
        })
    }

    /// Puts the snapshot in the place of the newest one. The one at the anchor stays, unless the log is kept from its
    /// beginning and needs none.
    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let row = SnapshotRow::new(self.chain, snapshot);
        let is_whole = base(&self.connection)?.index == 0;
        self.transact("store a snapshot", |connection| {
            let newer = if is_whole { "" } else { " WHERE idx > (SELECT min(idx) FROM snapshot)" };
            connection.execute(&format!("DELETE FROM snapshot{newer}"), [])?;
            row.insert(connection)
        })
    }

    /// Puts the snapshot in the place of those before it: the state can be had from there on.
    fn anchor(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let row = SnapshotRow::new(self.chain, snapshot);
        self.transact("store the anchor's snapshot", |connection| {
            connection.execute("DELETE FROM snapshot WHERE idx < ?1", [to_sql(snapshot.at.index)])?;
            row.insert(connection)
        })
    }

    /// Puts the snapshot in the place of everything. The witness of what was before goes first, for good: a crash in between
    /// leaves a store without one, which is as good as a new one.
    fn reset(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.witness.forget()?;
        let row = SnapshotRow::new(self.chain, snapshot);
        let at = snapshot.at;
        self.transact("put a snapshot in the place of the log", |connection| {
            connection.execute_batch("DELETE FROM log; DELETE FROM snapshot;")?;
            row.insert(connection)?;
            let base = params![to_sql(at.index), at.hash, to_sql(at.time_ms)];
            connection.execute("UPDATE base SET idx = ?1, hash = ?2, time_ms = ?3", base).map(drop)
        })?;
        self.last = at;
        self.witness.reached(at);
        Ok(())
    }

    fn transact(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        self.attempt(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
            let transaction = transaction.map_err(StoreError::sqlite(doing))?;
            work(&transaction).map_err(StoreError::sqlite(doing))?;
            transaction.commit().map_err(StoreError::sqlite(doing))
        })
    }

    /// Does something that writes. After a failure that leaves a transaction in doubt, everything committed is first put
    /// into the database file and the write-ahead log begun anew; while that fails, nothing is written. A full disk leaves
    /// no doubt: the frame that commits is written last.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.in_doubt {
            schema::begin_generation(&self.connection)?;
            self.in_doubt = false;
            tracing::info!("the disk of the database works again");
        }
        let result = work(&mut self.connection);
        self.in_doubt = matches!(&result, Err(error) if !matches!(error, StoreError::Full));
        result
    }
}

/// A snapshot with its digest, as it is stored.
#[derive(Debug)]
struct SnapshotRow<'a> {
    snapshot: &'a Snapshot,
    digest: [u8; 32],
}

impl<'a> SnapshotRow<'a> {
    fn new(chain: Chain, snapshot: &'a Snapshot) -> Self {
        Self { snapshot, digest: chain(&snapshot.at.hash, &snapshot.bytes) }
    }

    fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Snapshot { at, bytes } = self.snapshot;
        let insert = "INSERT OR REPLACE INTO snapshot (idx, hash, time_ms, digest, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![to_sql(at.index), at.hash, to_sql(at.time_ms), self.digest, bytes];
        connection.execute(insert, values).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn chain(_before: &[u8; 32], _bytes: &[u8]) -> [u8; 32] {
        [1; 32]
    }

    fn writer(directory: &Path, connection: Connection) -> Writer {
        let (witness, _thread) = Witness::start(directory, chain, Anchor::default()).expect("a thread");
        Writer::new(connection, chain, Anchor::default(), witness)
    }

    fn level(writer: &Writer) -> i64 {
        writer.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).expect("readable")
    }

    #[test]
    fn an_append_always_runs_at_full_synchronisation() {
        let directory = tempfile::tempdir().expect("a directory");
        let connection = schema::open_writer(schema::SYSTEM_VFS, directory.path()).expect("a new database");
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("readable");
        assert_eq!(mode, "wal");
        let mut writer = writer(directory.path(), connection);
        let row = |index| Row { index, hash: [1; 32], time_ms: 1, bytes: vec![1], refused: None };
        writer.append(&[row(1)]).expect("stored");
        assert_eq!(level(&writer), 2, "FULL");
        writer.refuse(&[(1, "why".into())]).expect("noted");
        writer.append(&[row(2)]).expect("stored");
        assert_eq!(level(&writer), 2, "FULL still: at most one transaction is ever unsynchronised");
        let error = writer.append(&[row(3), row(5)]).expect_err("a gap");
        assert!(matches!(error, StoreError::OutOfOrder { expected: 4, found: 5 }), "{error:?}");
    }

    #[test]
    fn a_full_disk_changes_nothing_and_passes() {
        let directory = tempfile::tempdir().expect("a directory");
        let connection = schema::open_writer(schema::SYSTEM_VFS, directory.path()).expect("a new database");
        let mut writer = writer(directory.path(), connection);
        let big = |index| Row { index, hash: [1; 32], time_ms: 1, bytes: vec![1; 100_000], refused: None };
        let limit = |writer: &Writer, pages: i64| {
            let set = writer.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get(0));
            set.expect("set")
        };
        let _pages: i64 = limit(&writer, 20);
        assert!(matches!(writer.append(&[big(1), big(2)]), Err(StoreError::Full)));
        let _pages: i64 = limit(&writer, 100_000);
        let stored: i64 =
            writer.connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).expect("readable");
        assert_eq!(stored, 0, "not even the first of the batch");
        writer.append(&[big(1), big(2)]).expect("room again");
    }
}
