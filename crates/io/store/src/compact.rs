//! Removing entries that a snapshot covers and retention does not want.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::{
    error::StoreError,
    recover::{anchor, base},
    rows::{Anchor, Retention, from_sql, to_sql},
};

/// Entries removed in one transaction, so that appends in between wait for milliseconds only.
const STEP: u64 = 5_000;

/// Removes entries up to and including this one, oldest first, one step, and never beyond the newest snapshot; answers how
/// many entries that were.
pub(crate) fn trim(connection: &mut Connection, up_to: u64) -> Result<u64, StoreError> {
    let before = base(connection)?;
    let up_to = newest_snapshot(connection)?.unwrap_or(0).min(up_to).min(before.index + STEP);
    if up_to <= before.index {
        return Ok(0);
    }
    let compacting = || StoreError::sqlite("remove old entries");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(compacting())?;
    let query = "SELECT idx, hash, time_ms FROM log WHERE idx = ?1";
    let after: Anchor = transaction.query_row(query, [to_sql(up_to)], anchor).map_err(compacting())?;
    transaction.execute("DELETE FROM log WHERE idx <= ?1", [to_sql(up_to)]).map_err(compacting())?;
    let update = "UPDATE base SET idx = ?1, hash = ?2, time_ms = ?3";
    let values = params![to_sql(after.index), after.hash, to_sql(after.time_ms)];
    transaction.execute(update, values).map_err(compacting())?;
    transaction.commit().map_err(compacting())?;
    Ok(after.index - before.index)
}

/// The newest entry to go: covered by the newest snapshot, and too old or with too many bytes after it.
pub(crate) fn find_cut(
    connection: &Connection,
    retention: Retention,
    now_ms: u64,
) -> Result<Option<Anchor>, StoreError> {
    let reading = || StoreError::sqlite("look for old entries");
    let Some(snapshot) = newest_snapshot(connection)? else { return Ok(None) };
    let age_ms = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
    let oldest_ms = now_ms.saturating_sub(age_ms);
    let query = "SELECT idx, hash, time_ms, length(bytes) FROM log WHERE idx <= ?1 ORDER BY idx DESC";
    let mut statement = connection.prepare(query).map_err(reading())?;
    let mut rows = statement.query([to_sql(snapshot)]).map_err(reading())?;
    let mut kept = 0;
    while let Some(row) = rows.next().map_err(reading())? {
        let at = anchor(row).map_err(reading())?;
        kept += row.get::<_, i64>(3).map(from_sql).map_err(reading())?;
        if kept > retention.bytes || at.time_ms < oldest_ms {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn newest_snapshot(connection: &Connection) -> Result<Option<u64>, StoreError> {
    let newest = "SELECT idx FROM snapshot ORDER BY idx DESC LIMIT 1";
    let found = connection.query_row(newest, [], |row| row.get(0).map(from_sql)).optional();
    found.map_err(StoreError::sqlite("look for old entries"))
}
