//! The thread that reads.

use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::{
    error::StoreError,
    recover::{base, entry},
    rows::{Page, to_sql},
    writer::Done,
};

/// Entries in one page, and bytes after which it is closed: what a caller holds at once.
const PAGE_ROWS_MAX: u32 = 512;
const PAGE_BYTES: usize = 1 << 20;

/// A request for entries from one index up to and including another.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) done: Done<Page>,
}

/// Serves queries in their order until the store is closed.
pub(crate) fn run(connection: &Connection, mut queries: mpsc::Receiver<Query>) {
    while let Some(Query { from, to, done }) = queries.blocking_recv() {
        // Whoever asked may have gone.
        drop(done.send(read(connection, from, to)));
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
