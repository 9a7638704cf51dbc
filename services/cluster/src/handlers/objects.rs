//! Declaring, changing, ending and reading one object.

use std::{sync::Arc, time::Duration};

use acp_base::{Change, Code, Failure, Name, Uid, sentence};
use acp_core_cdb::{Key, check_patch_keys, check_spec_keys, limits::ENTRY_BYTES_MAX};
use acp_io_daemon::{Call, boot_now, new_uid};
use acp_wire_api::{
    Method,
    cluster::{
        Create, CreateRequest, Delete, DeleteReply, DeleteRequest, Get, GetReply, GetRequest, Update, UpdateRequest,
        WriteReply,
    },
    hub::Proposal,
};
use acp_wire_model::entry::Action;
use serde_json::{Value, to_value};
use tokio::{sync::oneshot, time::sleep};

use super::App;
use crate::proposer::{Asked, Ordered};

/// How long a write waits for a disk that fails before it says so: a moment's trouble is nobody's business.
const TROUBLE_MIN: Duration = Duration::from_millis(500);

/// How long a write waits for its entry to come here after it was ordered.
const APPLY_MAX: Duration = Duration::from_secs(10);

/// Room in an entry for everything but the spec or patch.
const ENTRY_FRAME_BYTES: usize = 4 << 10;

pub(super) async fn create(app: Arc<App>, call: Call<Create>) -> Result<WriteReply, Failure> {
    let CreateRequest { kind, name, uid, spec } = call.request.clone();
    check_spec_keys(kind, &spec)?;
    check_size(&spec)?;
    let action = Action::Create { kind, name, uid: uid.unwrap_or_else(new_uid), spec };
    app.propose(&call, &action).await.map(write_reply)
}

pub(super) async fn update(app: Arc<App>, call: Call<Update>) -> Result<WriteReply, Failure> {
    let UpdateRequest { kind, uid, patch, if_version } = call.request.clone();
    check_patch_keys(kind, &patch)?;
    check_size(&patch)?;
    app.propose(&call, &Action::Update { kind, uid, patch, if_version }).await.map(write_reply)
}

pub(super) async fn delete(app: Arc<App>, call: Call<Delete>) -> Result<DeleteReply, Failure> {
    let DeleteRequest { kind, uid } = call.request;
    let written = app.propose(&call, &Action::Delete { kind, uid }).await?;
    Ok(DeleteReply { index: written.index })
}

pub(super) async fn get(app: Arc<App>, call: Call<Get>) -> Result<GetReply, Failure> {
    let GetRequest { kind, name, uid, node, min_index, linearizable, here } = call.request;
    let key = key(name, uid, node)?;
    if linearizable {
        app.reach(Some(app.hubs.read_index().await?)).await?;
    }
    app.reach(min_index).await?;
    let (view, index) = app.database.get(kind, key, app.here()).await?;
    let view = view.within(here).ok_or_else(not_here)?;
    Ok(GetReply { object: view.to_object(boot_now()), index })
}

/// What is said of an object that other nodes alone speak of.
fn not_here() -> Failure {
    Failure::new(Code::NotFound, "no reporter of this node speaks of such an object")
}

/// By what an object is asked for.
pub(super) fn key(name: Option<String>, uid: Option<Uid>, node: Option<Name>) -> Result<Key, Failure> {
    match (name, uid, node) {
        (Some(name), None, Some(node)) => Ok(Key::OnNode(node, name)),
        (Some(name), None, None) => Ok(Key::Name(name)),
        (None, Some(uid), None) => Ok(Key::Uid(uid)),
        (None, Some(_), Some(_)) => Err(Failure::invalid("an object asked for by its uid is asked for without a node")),
        (Some(_), Some(_), _) | (None, None, _) => {
            Err(Failure::invalid("an object is asked for by its name or by its uid: give one of them"))
        }
    }
}

/// A write that was applied here.
#[derive(Debug)]
pub(super) struct Written {
    /// The entry's index.
    pub(super) index: u64,
    /// The object's identity.
    pub(super) uid: Uid,
    /// The spec after it; for a delete, null.
    pub(super) spec: Value,
}

impl App {
    /// Has the action ordered, waits until it is applied here, and answers what it came to.
    pub(super) async fn propose<M: Method>(&self, call: &Call<M>, action: &Action) -> Result<Written, Failure> {
        if let Some(closed) = self.following.told().closed {
            return Err(closed);
        }
        self.has_room()?;
        let uid = match action {
            Action::Create { uid, .. } | Action::Update { uid, .. } | Action::Delete { uid, .. } => *uid,
            _ => return Err(Failure::internal("only objects are declared here")),
        };
        let action = to_value(action).map_err(|error| Failure::internal(format!("cannot write an entry: {error}")))?;
        let bytes = action.to_string().len();
        let proposal = Proposal { actor: self.actor(&call.caller), request: call.context.id.clone(), action };
        let (answer, ordered) = oneshot::channel();
        let ending = || Failure::unavailable("the cluster service is ending");
        self.proposals.send(Asked { proposal, bytes, answer }).await.map_err(|_unsent| ending())?;
        let Ordered { index, refused } = ordered.await.map_err(|_ended| ending().changed(Change::Unknown))??;
        let applied = self.applied(index).await;
        if let Some(refusal) = refused {
            return Err(refusal);
        }
        applied?;
        let record = self.database.written(index, uid).await?;
        Ok(Written { index, uid, spec: record.map(|record| Value::clone(&record.value)).unwrap_or_default() })
    }

    /// What would be ordered and could not be kept here is better not begun. The next entry that is stored ends the trouble.
    fn has_room(&self) -> Result<(), Failure> {
        self.store.has_room().map_err(|error| {
            let text = sentence(&error);
            self.following.trouble(text.clone());
            Failure::new(Code::ResourceExhausted, text)
        })
    }

    /// Waits until what was ordered is applied here. What is said otherwise is about this replica: the write is done.
    async fn applied(&self, index: u64) -> Result<(), Failure> {
        let late = |why: String| {
            Failure::unavailable(format!(
                "the write is entry {index} of the log, and this replica does not have it yet: {why}"
            ))
            .changed(Change::Unknown)
        };
        let troubled = async {
            sleep(TROUBLE_MIN).await;
            self.following.troubled().await
        };
        tokio::select! {
            biased;
            reached = self.database.reach(index) => reached.map_err(|failure| late(failure.message)),
            trouble = troubled => Err(late(trouble)),
            () = sleep(APPLY_MAX) => Err(late(format!("it did not come within {APPLY_MAX:?}"))),
        }
    }
}

pub(super) fn write_reply(Written { index, uid, spec }: Written) -> WriteReply {
    WriteReply { uid, index, spec }
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
