//! The thread that reads.

use rusqlite::{Connection, OptionalExtension};
use tokio::sync::mpsc;

use crate::{
    compact::find_cut,
    error::StoreError,
    recover::{anchor, base, entry, snapshot},
    rows::{Anchor, Chain, Page, Retention, Snapshot, to_sql},
    writer::Done,
};

/// Entries in one page, and bytes after which it is closed: what a caller holds at once.
const PAGE_ROWS_MAX: u32 = 512;
const PAGE_BYTES: usize = 1 << 20;

/// What the reader is asked.
#[derive(Debug)]
pub(crate) enum Query {
    /// Entries from one index up to and including another.
    Entries { from: u64, to: u64, done: Done<Page> },
    /// The newest snapshot that does not stand after an index; none: the log begins there.
    Before { index: u64, done: Done<Option<Snapshot>> },
    /// The oldest position at which the state can be had.
    Anchor { done: Done<Anchor> },
    /// The newest entry that retention does not want.
    Cut { retention: Retention, now_ms: u64, done: Done<Option<Anchor>> },
}

/// Serves queries in their order until the store is closed.
pub(crate) fn run(connection: &Connection, chain: Chain, mut queries: mpsc::Receiver<Query>) {
    while let Some(query) = queries.blocking_recv() {
        // Whoever asked may have gone.
        match query {
            Query::Entries { from, to, done } => drop(done.send(read(connection, from, to))),
            Query::Before { index, done } => drop(done.send(before(connection, chain, index))),
            Query::Anchor { done } => drop(done.send(oldest(connection))),
            Query::Cut { retention, now_ms, done } => drop(done.send(find_cut(connection, retention, now_ms))),
        }
    }
}

fn read(connection: &Connection, from: u64, to: u64) -> Result<Page, StoreError> {
    let reading = || StoreError::sqlite("read the log");
    // One transaction, so that base and entries are of the same moment.
    let transaction = connection.unchecked_transaction().map_err(reading())?;
    let base = base(&transaction)?;
    if from <= base.index {
        return Err(StoreError::Compacted { first: base.index + 1 });
    }
    let query = "SELECT idx, hash, time_ms, bytes, refused FROM log WHERE idx BETWEEN ?1 AND ?2 ORDER BY idx LIMIT ?3";
    let mut statement = transaction.prepare_cached(query).map_err(reading())?;
    let found = statement.query_map((to_sql(from), to_sql(to), PAGE_ROWS_MAX), entry).map_err(reading())?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for row in found {
        let row = row.map_err(reading())?;
        bytes += row.bytes.len();
        rows.push(row);
        if bytes > PAGE_BYTES {
            break;
        }
    }
    Ok(Page { rows, base })
}

/// The oldest snapshot, unless the log is kept from its beginning.
fn oldest(connection: &Connection) -> Result<Anchor, StoreError> {
    let base = base(connection)?;
    if base.index == 0 {
        return Ok(base);
    }
    let query = "SELECT idx, hash, time_ms FROM snapshot ORDER BY idx LIMIT 1";
    let oldest =
        connection.query_row(query, [], anchor).optional().map_err(StoreError::sqlite("read the snapshots"))?;
    Ok(oldest.unwrap_or(base))
}

fn before(connection: &Connection, chain: Chain, index: u64) -> Result<Option<Snapshot>, StoreError> {
    let reading = || StoreError::sqlite("read the snapshots");
    let transaction = connection.unchecked_transaction().map_err(reading())?;
    let anchor = oldest(&transaction)?;
    if index < anchor.index {
        return Err(StoreError::BeforeAnchor { anchor });
    }
    snapshot(&transaction, chain, index)
}
