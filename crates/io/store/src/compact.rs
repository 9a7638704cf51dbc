//! Removing entries that the snapshot covers and retention does not want.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::{
    error::StoreError,
    recover::{anchor, base},
    rows::{Anchor, Retention, from_sql, to_sql},
};

/// Entries removed in one transaction, so that appends in between wait for milliseconds only.
const STEP: u64 = 5_000;

/// Removes what is beyond retention, oldest first, one step; answers how many entries that were.
pub(crate) fn compact(connection: &mut Connection, retention: Retention, now_ms: u64) -> Result<u64, StoreError> {
    let before = base(connection)?;
    let Some(cut) = find_cut(connection, retention, now_ms)? else { return Ok(0) };
    let cut = cut.min(before.index + STEP);
    let compacting = || StoreError::sqlite("remove old entries");
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(compacting())?;
    let query = "SELECT idx, hash, time_ms FROM log WHERE idx = ?1";
    let after: Anchor = transaction.query_row(query, [to_sql(cut)], anchor).map_err(compacting())?;
    transaction.execute("DELETE FROM log WHERE idx <= ?1", [to_sql(cut)]).map_err(compacting())?;
    let update = "UPDATE base SET idx = ?1, hash = ?2, time_ms = ?3";
    let values = params![to_sql(after.index), after.hash, to_sql(after.time_ms)];
    transaction.execute(update, values).map_err(compacting())?;
    transaction.commit().map_err(compacting())?;
    Ok(after.index - before.index)
}

/// The newest entry to go: covered by the snapshot, and too old or with too many bytes after it.
fn find_cut(connection: &Connection, retention: Retention, now_ms: u64) -> Result<Option<u64>, StoreError> {
    let reading = || StoreError::sqlite("look for old entries");
    let newest = "SELECT idx FROM snapshot ORDER BY idx DESC LIMIT 1";
    let snapshot: Option<i64> = connection.query_row(newest, [], |row| row.get(0)).optional().map_err(reading())?;
    let Some(snapshot) = snapshot else { return Ok(None) };
    let age_ms = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
    let oldest_ms = now_ms.saturating_sub(age_ms);
    let mut statement = connection
        .prepare("SELECT idx, length(bytes), time_ms FROM log WHERE idx <= ?1 ORDER BY idx DESC")
        .map_err(reading())?;
    let mut rows = statement.query([snapshot]).map_err(reading())?;
    let mut kept = 0;
    while let Some(row) = rows.next().map_err(reading())? {
        let number =
            |column| row.get::<_, i64>(column).map(from_sql).map_err(StoreError::sqlite("look for old entries"));
        kept += number(1)?;
        if kept > retention.bytes || number(2)? < oldest_ms {
            return number(0).map(Some);
        }
    }
    Ok(None)
}
