//! The log for people, auditors and tests.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_cdb::{Hash, decode};
use acp_io_daemon::{Call, Sink};
use acp_io_store::{Row, StoreError};
use acp_wire_api::cluster::{LogEntry, ReadLog, ReadLogReply, VerifyLog, VerifyLogReply};
use serde_json::json;

use super::App;
use crate::{epoch::Epoch, error::read_failure};

/// Entries in one reply: with the largest spec there is, still a few megabytes.
const ENTRIES_MAX: usize = 64;

pub(super) async fn read(app: Arc<App>, call: Call<ReadLog>, sink: Sink<ReadLog>) -> Result<ReadLogReply, Failure> {
    let _open = app.shares.open_watch(&call.caller)?;
    let mut noted = app.noted.clone();
    let applied = app.database.standing().await?.index;
    let mut end = wait_for(&mut noted, applied).await?;
    let mut next = match (&call.request.cursor, call.request.from) {
        (Some(text), 0) => {
            let (epoch, index) = cursor(text)?;
            end = wait_for(&mut noted, index).await?;
            app.is_of_epoch(index, epoch).await?;
            index + 1
        }
        (None, 0) => return Err(Failure::invalid("from is 0; the first entry has index 1")),
        (None, from) => from,
        (Some(_), _) => return Err(Failure::invalid("entries are asked for by from or by cursor: give one of them")),
    };
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

impl App {
    /// Whether the entry with this index was ordered in this epoch. Where it is just not kept any more, the one after it says
    /// so as well as can be, or the replica itself if it is the last.
    async fn is_of_epoch(&self, index: u64, epoch: &str) -> Result<(), Failure> {
        let page = match self.store.read(index, index).await {
            Err(StoreError::Compacted { first }) if first == index + 1 => self.store.read(first, first).await,
            page => page,
        };
        let page = page.map_err(|error| read_failure(&error))?;
        let here = match page.rows.first() {
            Some(row) => decode(&row.bytes, row.index).ok().map(|entry| entry.epoch.to_string()),
            None => self.database.standing().await?.epoch.map(|epoch| epoch.to_string()),
        };
        if here.as_deref().is_none_or(|here| here == epoch) {
            return Ok(());
        }
        let here = here.unwrap_or_default();
        Err(Failure::precondition(format!(
            "entry {index} is of epoch {here} now, not of epoch {epoch}: what was after it then is gone; begin anew"
        )))
    }
}

/// Epoch and index of a [`LogEntry::cursor`].
fn cursor(text: &str) -> Result<(&str, u64), Failure> {
    let parsed = text.split_once(':').and_then(|(epoch, index)| Some((epoch, index.parse().ok()?)));
    parsed.filter(|(epoch, index)| Epoch::parse(epoch).is_some() && *index > 0).ok_or_else(|| {
        let shown: String = text.chars().take(64).collect();
        Failure::invalid(format!("{shown:?} is no cursor of the log: it is the one of an entry, like 1-0a1b2c3d:42"))
    })
}

fn log_entry(row: &Row) -> LogEntry {
    let (entry, epoch) = match decode(&row.bytes, row.index) {
        Ok(entry) => {
            let epoch = entry.epoch.to_string();
            (serde_json::to_value(entry).unwrap_or_default(), epoch)
        }
        Err(stall) => (json!({"index": row.index, "unreadable": stall.to_string()}), String::new()),
    };
    LogEntry {
        entry,
        hash: Hash::from_bytes(row.hash).to_string(),
        refused: row.refused.clone(),
        cursor: format!("{epoch}:{}", row.index),
    }
}
