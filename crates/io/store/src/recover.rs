//! What an opened store may be believed.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use crate::{
    error::StoreError,
    rows::{Anchor, Chain, Recovered, Row, Snapshot, from_sql, to_sql},
};

/// Reads the newest snapshot and verifies that the log goes on from it, entry by entry, to its end.
pub(crate) fn recover(connection: &Connection, chain: Chain) -> Result<Recovered, StoreError> {
    let snapshot = snapshot(connection, chain, u64::MAX)?;
    let base = base(connection)?;
    let start = match &snapshot {
        Some(snapshot) => snapshot.at,
        None => base,
    };
    if start.index > base.index {
        agrees(connection, &start)?;
    }
    let last = verify_after(connection, chain, start)?;
    Ok(Recovered { snapshot, last })
}

/// What the first entry kept chains to.
pub(crate) fn base(connection: &Connection) -> Result<Anchor, StoreError> {
    let base = connection.query_row("SELECT idx, hash, time_ms FROM base", [], anchor);
    base.map_err(StoreError::sqlite("read the log's base"))
}

/// A row of columns idx, hash, time_ms.
pub(crate) fn anchor(row: &SqlRow<'_>) -> rusqlite::Result<Anchor> {
    Ok(Anchor { index: from_sql(row.get(0)?), hash: row.get(1)?, time_ms: from_sql(row.get(2)?) })
}

/// A row of columns idx, hash, time_ms, bytes, refused.
pub(crate) fn entry(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let Anchor { index, hash, time_ms } = anchor(row)?;
    Ok(Row { index, hash, time_ms, bytes: row.get(3)?, refused: row.get(4)? })
}

/// The newest snapshot that does not stand after this index, verified.
pub(crate) fn snapshot(connection: &Connection, chain: Chain, up_to: u64) -> Result<Option<Snapshot>, StoreError> {
    let query = "SELECT idx, hash, time_ms, digest, bytes FROM snapshot WHERE idx <= ?1 ORDER BY idx DESC LIMIT 1";
    let found = connection.query_row(query, [to_sql(up_to)], |row| {
        let digest: [u8; 32] = row.get(3)?;
        Ok((Snapshot { at: anchor(row)?, bytes: row.get(4)? }, digest))
    });
    let found = found.optional().map_err(StoreError::sqlite("read the snapshot"))?;
    match found {
        None => Ok(None),
        Some((snapshot, digest)) if chain(&snapshot.at.hash, &snapshot.bytes) == digest => Ok(Some(snapshot)),
        Some((snapshot, _)) => Err(StoreError::SnapshotBroken { index: snapshot.at.index }),
    }
}

/// The entry at the snapshot's index, which the log still keeps, must have the snapshot's hash.
fn agrees(connection: &Connection, start: &Anchor) -> Result<(), StoreError> {
    if stored_hash(connection, start.index)? != Some(start.hash) {
        return Err(StoreError::Broken { index: start.index });
    }
    Ok(())
}

/// Whether the entry has this hash, or has been removed by retention.
pub(crate) fn agrees_if_kept(connection: &Connection, index: u64, hash: [u8; 32]) -> Result<bool, StoreError> {
    if index <= base(connection)?.index {
        return Ok(true);
    }
    Ok(stored_hash(connection, index)? == Some(hash))
}

fn stored_hash(connection: &Connection, index: u64) -> Result<Option<[u8; 32]>, StoreError> {
    let query = "SELECT hash FROM log WHERE idx = ?1";
    let stored = connection.query_row(query, [to_sql(index)], |row| row.get(0)).optional();
    stored.map_err(StoreError::sqlite("read the log"))
}

fn verify_after(connection: &Connection, chain: Chain, start: Anchor) -> Result<Anchor, StoreError> {
    let reading = || StoreError::sqlite("read the log");
    let query = "SELECT idx, hash, time_ms, bytes, refused FROM log WHERE idx > ?1 ORDER BY idx";
    let mut statement = connection.prepare(query).map_err(reading())?;
    let rows = statement.query_map([to_sql(start.index)], entry).map_err(reading())?;
    let mut last = start;
    for row in rows {
        last = follow(chain, last, &row.map_err(reading())?)?;
    }
    Ok(last)
}

/// The position after this entry, if it follows the one before.
pub(crate) fn follow(chain: Chain, before: Anchor, row: &Row) -> Result<Anchor, StoreError> {
    let due = before.index + 1;
    if row.index != due || chain(&before.hash, &row.bytes) != row.hash {
        return Err(StoreError::Broken { index: due });
    }
    Ok(Anchor { index: due, hash: row.hash, time_ms: row.time_ms })
}
