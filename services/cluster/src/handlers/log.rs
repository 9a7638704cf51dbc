//! The log for people, auditors and tests.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_cdb::{Hash, decode};
use acp_io_daemon::{Call, Sink};
use acp_io_store::Row;
use acp_wire_api::cluster::{LogEntry, ReadLog, ReadLogReply, VerifyLog, VerifyLogReply};
use serde_json::json;

use super::App;
use crate::error::read_failure;

/// Entries in one reply: with the largest spec there is, still a few megabytes.
const ENTRIES_MAX: usize = 64;

pub(super) async fn read(app: Arc<App>, call: Call<ReadLog>, sink: Sink<ReadLog>) -> Result<ReadLogReply, Failure> {
    let _open = app.shares.open_watch(&call.caller)?;
    let mut next = call.request.from;
    if next == 0 {
        return Err(Failure::invalid("from is 0; the first entry has index 1"));
    }
    let mut noted = app.noted.clone();
    let applied = app.database.standing().await?.index;
    let mut end = wait_for(&mut noted, applied).await?;
    loop {
        while next <= end {
            let page = app.store.read(next, end).await.map_err(|error| read_failure(&error))?;
            let Some(last) = page.rows.last().map(|row| row.index) else { break };
            next = last + 1;
            let mut entries: Vec<LogEntry> = page.rows.iter().map(log_entry).collect();
            while entries.len() > ENTRIES_MAX {
                let rest = entries.split_off(ENTRIES_MAX);
                sink.send(ReadLogReply { entries: std::mem::replace(&mut entries, rest) }).await?;
            }
            if next > end && !call.request.follow {
                return Ok(ReadLogReply { entries });
            }
            sink.send(ReadLogReply { entries }).await?;
        }
        if !call.request.follow {
            return Ok(ReadLogReply { entries: Vec::new() });
        }
        end = wait_for(&mut noted, next).await?;
    }
}

pub(super) async fn verify(app: Arc<App>, _call: Call<VerifyLog>) -> Result<VerifyLogReply, Failure> {
    let verified = app.store.verify().await.map_err(|error| read_failure(&error))?;
    Ok(VerifyLogReply {
        first: verified.first,
        last: verified.last.index,
        hash: Hash::from_bytes(verified.last.hash).to_string(),
        broken_at: verified.broken_at,
    })
}

/// Waits until the stored log is complete up to this index; answers how far it is.
async fn wait_for(noted: &mut tokio::sync::watch::Receiver<u64>, index: u64) -> Result<u64, Failure> {
    let reached = noted.wait_for(|noted| *noted >= index).await;
    reached.map(|noted| *noted).map_err(|_ended| Failure::unavailable("the cluster service is ending"))
}

fn log_entry(row: &Row) -> LogEntry {
    let entry = match decode(&row.bytes, row.index) {
        Ok(entry) => serde_json::to_value(entry).unwrap_or_default(),
        Err(stall) => json!({"index": row.index, "unreadable": stall.to_string()}),
    };
    LogEntry { entry, hash: Hash::from_bytes(row.hash).to_string(), refused: row.refused.clone() }
}
