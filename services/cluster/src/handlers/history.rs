//! Specs as they were, and taking an entry back.

use std::sync::Arc;

use acp_base::{Code, Failure};
use acp_core_cdb::{Database, decode};
use acp_io_daemon::Call;
use acp_wire_api::cluster::{GetAt, GetAtReply, GetAtRequest, Undo, WriteReply};
use serde_json::Value;

use super::{
    App,
    objects::{key, write_reply},
};

pub(super) async fn get_at(app: Arc<App>, call: Call<GetAt>) -> Result<GetAtReply, Failure> {
    let GetAtRequest { kind, name, uid, node, index } = call.request;
    if index == 0 {
        return Err(Failure::invalid("index is 0; the first entry has index 1"));
    }
    let key = key(name, uid, node)?;
    let state = app.history.at(index).await?;
    let time_ms = state.time().0;
    let view = Database::new(state).get(kind, &key, Some(&app.here()))?;
    let record = view.record.as_ref().ok_or_else(|| Failure::invalid(format!("a {kind} has no spec")))?;
    Ok(GetAtReply {
        uid: record.uid,
        name: record.name.to_string(),
        version: record.version,
        spec: Value::clone(&record.value),
        time_ms,
    })
}

/// Declares the opposite of an entry, under the condition that nothing has changed since it was looked at.
pub(super) async fn undo(app: Arc<App>, call: Call<Undo>) -> Result<WriteReply, Failure> {
    let index = call.request.index;
    let Some(before) = index.checked_sub(1) else {
        return Err(Failure::invalid("index is 0; the first entry has index 1"));
    };
    let row = app.history.entry(index).await?;
    if let Some(reason) = row.refused {
        return Err(Failure::precondition(format!("entry {index} changed nothing: it was refused ({reason})")));
    }
    let entry = decode(&row.bytes, index).map_err(|stall| Failure::new(Code::Unimplemented, stall.to_string()))?;
    let before = app.history.at(before).await?;
    let action = app.database.look(move |state| state.undo(&entry, &before)).await??;
    app.propose(&call, &action).await.map(write_reply)
}
