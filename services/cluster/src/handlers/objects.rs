//! Declaring, changing, ending and reading one object.

use std::sync::Arc;

use acp_base::Failure;
use acp_core_cdb::{Key, check_patch_keys, check_spec_keys, limits::ENTRY_BYTES_MAX};
use acp_io_daemon::{Call, boot_now, new_uid};
use acp_wire_api::{
    Method,
    cluster::{
        Create, CreateRequest, Delete, DeleteReply, DeleteRequest, Get, GetReply, GetRequest, Update, UpdateRequest,
        WriteReply,
    },
};
use acp_wire_model::entry::Action;
use serde_json::Value;
use tokio::sync::oneshot;

use super::App;
use crate::sequencer::{Command, Proposal, Written};

/// Room in an entry for everything but the spec or patch.
const ENTRY_FRAME_BYTES: usize = 4 << 10;

pub(super) async fn create(app: Arc<App>, call: Call<Create>) -> Result<WriteReply, Failure> {
    let CreateRequest { kind, name, uid, spec } = call.request.clone();
    check_spec_keys(kind, &spec)?;
    check_size(&spec)?;
    let action = Action::Create { kind, name, uid: uid.unwrap_or_else(new_uid), spec };
    app.propose(&call, action).await.map(write_reply)
}

pub(super) async fn update(app: Arc<App>, call: Call<Update>) -> Result<WriteReply, Failure> {
    let UpdateRequest { kind, uid, patch, if_version } = call.request.clone();
    check_patch_keys(kind, &patch)?;
    check_size(&patch)?;
    app.propose(&call, Action::Update { kind, uid, patch, if_version }).await.map(write_reply)
}

pub(super) async fn delete(app: Arc<App>, call: Call<Delete>) -> Result<DeleteReply, Failure> {
    let DeleteRequest { kind, uid } = call.request;
    let written = app.propose(&call, Action::Delete { kind, uid }).await?;
    Ok(DeleteReply { index: written.index })
}

pub(super) async fn get(app: Arc<App>, call: Call<Get>) -> Result<GetReply, Failure> {
    let GetRequest { kind, name, uid, min_index } = call.request;
    let key = match (name, uid) {
        (Some(name), None) => Key::Name(name),
        (None, Some(uid)) => Key::Uid(uid),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Failure::invalid("an object is asked for by its name or by its uid: give one of them"));
        }
    };
    app.reach(min_index).await?;
    let (view, index) = app.database.get(kind, key).await?;
    Ok(GetReply { object: view.to_object(boot_now()), index })
}

impl App {
    /// Has the action ordered and applied; answers what it came to.
    async fn propose<M: Method>(&self, call: &Call<M>, action: Action) -> Result<Written, Failure> {
        let command = Command { actor: self.actor(&call.caller), request: call.context.id.clone(), action };
        let (answer, outcome) = oneshot::channel();
        let ending = || Failure::unavailable("the cluster service is ending");
        self.proposals.send(Proposal { command, answer }).await.map_err(|_unsent| ending())?;
        outcome.await.map_err(|_ended| ending().changed(acp_base::Change::Unknown))?
    }
}

fn write_reply(Written { index, record }: Written) -> WriteReply {
    WriteReply { uid: record.uid, index, spec: Value::clone(&record.value) }
}

/// Refuses what would not fit into an entry.
fn check_size(value: &Value) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len());
    let most = ENTRY_BYTES_MAX - ENTRY_FRAME_BYTES;
    if bytes > most {
        return Err(Failure::invalid(format!("a spec of {bytes} bytes is too large; at most {most} are taken")));
    }
    Ok(())
}
