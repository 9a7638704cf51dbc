//! Specs as they were, and taking an entry back.

use std::sync::Arc;

use acp_base::{Code, Failure};
use acp_core_cdb::{Database, Selector, State, View, decode};
use acp_io_daemon::{Call, Sink};
use acp_wire_api::cluster::{
    GetAt, GetAtReply, GetAtRequest, ListAt, ListAtReply, ListAtRequest, PastObject, Undo, WriteReply,
};
use acp_wire_model::Kind;
use serde_json::Value;

use super::{
    App,
    list::{Batches, selectors},
    objects::{key, write_reply},
};

pub(super) async fn get_at(app: Arc<App>, call: Call<GetAt>) -> Result<GetAtReply, Failure> {
    let GetAtRequest { kind, name, uid, node, index } = call.request;
    has_spec(kind)?;
    let key = key(name, uid, node)?;
    app.is_past(index).await?;
    let state = app.history.at(index).await?;
    let time_ms = state.time().0;
    let view = Database::new(state).get(kind, &key, Some(&app.here()))?;
    let PastObject { uid, name, version, spec, .. } = past(&view).ok_or_else(|| no_spec(kind))?;
    Ok(GetAtReply { uid, name, version, spec, time_ms })
}

/// One list of a user at a time: each holds a state of its own until its last batch is read.
pub(super) async fn list_at(app: Arc<App>, call: Call<ListAt>, sink: Sink<ListAt>) -> Result<ListAtReply, Failure> {
    let ListAtRequest { kind, selectors: asked, index } = call.request;
    kind.map_or(Ok(()), has_spec)?;
    let selectors = selectors(asked)?;
    if selectors.iter().any(Selector::is_on_reports) {
        let text =
            "what was reported is not in the log: objects of the past are selected by name, uid and keys below spec";
        return Err(Failure::invalid(text));
    }
    app.is_past(index).await?;
    let share = app.shares.of(&call.caller);
    let _listing = share.past_listing().await?;
    let (views, time) = app.history.list(index, kind.into_iter().collect(), selectors).await?;
    let mut batches = Batches::new(&views);
    loop {
        let objects = batches.next_batch().iter().filter_map(past).collect();
        let reply = ListAtReply { objects, time_ms: time.0 };
        if batches.is_empty() {
            return Ok(reply);
        }
        sink.send(reply).await?;
    }
}

fn past(view: &View) -> Option<PastObject> {
    let record = view.record.as_ref()?;
    Some(PastObject {
        kind: view.kind,
        uid: view.uid,
        name: view.name.to_string(),
        version: record.version,
        spec: Value::clone(&record.value),
    })
}

fn has_spec(kind: Kind) -> Result<(), Failure> {
    if kind.is_declared() { Ok(()) } else { Err(no_spec(kind)) }
}

fn no_spec(kind: Kind) -> Failure {
    Failure::invalid(format!("a {kind} has no spec: the log does not hold what is only reported"))
}

impl App {
    /// Whether an entry with this index was ordered, as far as this replica knows.
    async fn is_past(&self, index: u64) -> Result<(), Failure> {
        if index == 0 {
            return Err(Failure::invalid("index is 0; the first entry has index 1"));
        }
        let newest = self.database.look(State::index).await?;
        if index > newest {
            let text =
                format!("entry {index} has not been ordered yet: the newest that this node has is entry {newest}");
            return Err(Failure::not_found(text));
        }
        Ok(())
    }
}

/// Declares the opposite of an entry, under the condition that nothing has changed since it was looked at.
pub(super) async fn undo(app: Arc<App>, call: Call<Undo>) -> Result<WriteReply, Failure> {
    let index = call.request.index;
    app.is_past(index).await?;
    let row = app.history.entry(index).await?;
    if let Some(reason) = row.refused {
        return Err(Failure::precondition(format!("entry {index} changed nothing: it was refused ({reason})")));
    }
    let entry = decode(&row.bytes, index).map_err(|stall| Failure::new(Code::Unimplemented, stall.to_string()))?;
    let before = app.history.at(index - 1).await?;
    let action = app.database.look(move |state| state.undo(&entry, &before)).await??;
    app.propose(&call, &action).await.map(write_reply)
}
