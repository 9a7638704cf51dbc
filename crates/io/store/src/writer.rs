//! The thread that writes.

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use crate::{
    compact::compact,
    error::StoreError,
    rows::{Chain, Retention, Row, Snapshot, to_sql},
};

pub(crate) type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Append { rows: Vec<Row>, done: Done<()> },
    Refuse { refusals: Vec<(u64, String)>, done: Done<()> },
    Snapshot { snapshot: Snapshot, done: Done<()> },
    Compact { retention: Retention, now_ms: u64, done: Done<u64> },
}

/// How much a commit waits for.
#[derive(Clone, Copy, Debug)]
enum Durability {
    /// Until the write-ahead log is on stable storage.
    Synchronised,
    /// For nothing: what is written can be computed again from what was synchronised before.
    Recomputable,
}

/// The one connection that writes, and the index it has reached.
#[derive(Debug)]
pub(crate) struct Writer {
    connection: Connection,
    chain: Chain,
    last: u64,
}

impl Writer {
    pub(crate) const fn new(connection: Connection, chain: Chain, last: u64) -> Self {
        Self { connection, chain, last }
    }

    /// Serves commands in their order until the store is closed.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            // Whoever asked may have gone; the work is done all the same.
            match command {
                Command::Append { rows, done } => drop(done.send(self.append(&rows))),
                Command::Refuse { refusals, done } => drop(done.send(self.refuse(&refusals))),
                Command::Snapshot { snapshot, done } => drop(done.send(self.snapshot(&snapshot))),
                Command::Compact { retention, now_ms, done } => {
                    drop(done.send(compact(&mut self.connection, retention, now_ms)));
                }
            }
        }
        if let Err((_connection, error)) = self.connection.close() {
            tracing::warn!(%error, "the database could not be closed");
        }
    }

    /// Stores a batch: one transaction, one synchronisation. When this returns, the batch is on stable storage.
    fn append(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        for (row, expected) in rows.iter().zip(self.last + 1..) {
            if row.index != expected {
                return Err(StoreError::OutOfOrder { expected, found: row.index });
            }
        }
        self.transact(Durability::Synchronised, "store entries", |connection| {
            let insert = "INSERT INTO log (idx, hash, time_ms, bytes, refused) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = connection.prepare_cached(insert)?;
            for row in rows {
                statement.execute(params![to_sql(row.index), row.hash, to_sql(row.time_ms), row.bytes, row.refused])?;
            }
            Ok(())
        })?;
        self.last = rows.last().map_or(self.last, |row| row.index);
        Ok(())
    }

    fn refuse(&mut self, refusals: &[(u64, String)]) -> Result<(), StoreError> {
        self.transact(Durability::Recomputable, "note refusals", |connection| {
            let mut statement = connection.prepare_cached("UPDATE log SET refused = ?2 WHERE idx = ?1")?;
            for (index, reason) in refusals {
                statement.execute(params![to_sql(*index), reason])?;
            }
            Ok(())
        })
    }

    /// Puts the snapshot in the place of the one before.
    fn snapshot(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let Snapshot { at, bytes } = snapshot;
        let digest = (self.chain)(&at.hash, bytes);
        self.transact(Durability::Synchronised, "store a snapshot", |connection| {
            connection.execute("DELETE FROM snapshot", [])?;
            let insert = "INSERT INTO snapshot (idx, hash, time_ms, digest, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.execute(insert, params![to_sql(at.index), at.hash, to_sql(at.time_ms), digest, bytes])?;
            Ok(())
        })
    }

    fn transact(
        &mut self,
        durability: Durability,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let level = match durability {
            Durability::Synchronised => "PRAGMA synchronous = FULL",
            Durability::Recomputable => "PRAGMA synchronous = NORMAL",
        };
        self.connection.execute_batch(level).map_err(StoreError::sqlite(doing))?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(StoreError::sqlite(doing))?;
        work(&transaction).map_err(StoreError::sqlite(doing))?;
        transaction.commit().map_err(StoreError::sqlite(doing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;

    fn chain(_before: &[u8; 32], _bytes: &[u8]) -> [u8; 32] {
        [1; 32]
    }

    fn level(writer: &Writer) -> i64 {
        writer.connection.query_row("PRAGMA synchronous", [], |row| row.get(0)).expect("readable")
    }

    #[test]
    fn an_append_always_runs_at_full_synchronisation() {
        let directory = tempfile::tempdir().expect("a directory");
        let connection = schema::open_writer(directory.path()).expect("a new database");
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).expect("readable");
        assert_eq!(mode, "wal");
        let mut writer = Writer::new(connection, chain, 0);
        let row = |index| Row { index, hash: [1; 32], time_ms: 1, bytes: vec![1], refused: None };
        writer.append(&[row(1)]).expect("stored");
        assert_eq!(level(&writer), 2, "FULL");
        writer.refuse(&[(1, "why".into())]).expect("noted");
        assert_eq!(level(&writer), 1, "NORMAL");
        writer.append(&[row(2)]).expect("stored");
        assert_eq!(level(&writer), 2, "FULL again");
        let error = writer.append(&[row(3), row(5)]).expect_err("a gap");
        assert!(matches!(error, StoreError::OutOfOrder { expected: 4, found: 5 }), "{error:?}");
    }

    #[test]
    fn a_full_disk_changes_nothing_and_passes() {
        let directory = tempfile::tempdir().expect("a directory");
        let connection = schema::open_writer(directory.path()).expect("a new database");
        let mut writer = Writer::new(connection, chain, 0);
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
