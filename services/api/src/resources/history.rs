//! What has happened: the entries of the log as a node's replica has them; and the leases that they grant.

use acp_base::{Failure, Uid};
use acp_client::Event;
use acp_wire_api::{
    Empty,
    cluster::{
        GetStatus, Lease, ListLeases, LogEntry, ReadLog, ReadLogReply, ReadLogRequest, Undo, UndoRequest, VerifyLog,
    },
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    answer::{Found, List},
    call::Call,
    events::{Events, Rendered},
    operation::Operation,
    parameter,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get(
            "/events",
            "listEvents",
            "Lists entries of the log; `next` and each `cursor` count on every node.",
            list,
        )
        .paged()
        .takes(&[&parameter::FROM])
        .calls::<ReadLog>(),
        Operation::get(
            "/events/watch",
            "watchEvents",
            "Tells entries of the log as they come, as server-sent events.",
            watch,
        )
        .takes(&[&parameter::FROM])
        .watch()
        .calls::<ReadLog>(),
        Operation::get(
            "/events/verification",
            "verifyEvents",
            "Recomputes the chain of hashes over a node's log.",
            verify,
        )
        .calls::<VerifyLog>(),
        Operation::act(
            "/events/{index}/undo",
            "undoEvent",
            "Declares the opposite of an entry that created, changed or deleted an object.",
            undo,
        )
        .calls::<Undo>(),
        Operation::get("/leases", "listLeases", "Lists who runs which floating system under which lease.", leases)
            .paged()
            .calls::<ListLeases>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

/// An entry of the log with its fate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
struct Told {
    /// Its position in the log.
    index: u64,
    /// `<number>-<id>` of the epoch in which it was ordered; absent, like what follows: of a kind that this version does not
    /// know.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    /// When it was ordered, in milliseconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_ms: Option<u64>,
    /// Who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    /// The request that caused it; empty if none was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// What it does, by its `type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Value>,
    /// Why it was refused; absent: it was done.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// The chain's hash after it, 64 hexadecimal digits.
    hash: String,
    /// What `after` has to be to go on behind it, on any node.
    cursor: String,
}

impl From<LogEntry> for Told {
    fn from(said: LogEntry) -> Self {
        let action = said.entry.get("action").cloned();
        let Event { index, entry, hash, refused, cursor } = said.into();
        let (epoch, time_ms, actor, request) = match entry {
            Some(entry) => (Some(entry.epoch.to_string()), Some(entry.time.0), Some(entry.actor), Some(entry.request)),
            None => (None, None, None, None),
        };
        Self { index, epoch, time_ms, actor, request, action, refused, hash, cursor }
    }
}

async fn list(call: Call) -> Result<Found<List<Told>>, Failure> {
    let (limit, after) = call.page()?;
    let (from, cursor) = match (call.query("from")?, after) {
        // Whoever goes on behind a page has begun somewhere, and may say so still.
        (_, Some(cursor)) => (0, Some(cursor.to_owned())),
        (Some(from), None) => (from, None),
        (None, None) => {
            let status = call.ask::<GetStatus>(Empty {}).await?;
            ((status.index + 1).saturating_sub(limit as u64).max(status.anchor + 1), None)
        }
    };
    let request = ReadLogRequest { from, cursor, follow: false };
    let mut replies = call.service("cluster").stream::<ReadLog>(request).await?.bounded();
    let mut items: Vec<Told> = Vec::new();
    while let Some(reply) = replies.next().await {
        items.extend(reply?.entries.into_iter().map(Told::from));
        if items.len() > limit {
            break;
        }
    }
    let is_cut = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_last| is_cut).map(|last| last.cursor.clone());
    Ok(Found(List { items, next }))
}

/// After the last event seen, else from the index asked for, else what happens from now on.
async fn watch(call: Call) -> Result<Events, Failure> {
    let permit = call.app.watches.open(call.identity.as_deref())?;
    let (from, cursor) = match (call.last_event_id.clone(), call.query("from")?) {
        (Some(cursor), _) => (0, Some(cursor)),
        (None, Some(from)) => (from, None),
        (None, None) => (call.ask::<GetStatus>(Empty {}).await?.index + 1, None),
    };
    let request = ReadLogRequest { from, cursor, follow: true };
    let replies = call.service("cluster").stream::<ReadLog>(request).await?;
    Events::start_quiet(&call, permit, replies, render).await
}

fn render(reply: &ReadLogReply, out: &mut Rendered) {
    for entry in &reply.entries {
        let told = Told::from(entry.clone());
        out.event("event", Some(&told.cursor), &told);
    }
}

/// What became of the chain.
#[derive(Debug, Serialize, ToSchema)]
struct Verification {
    /// First index kept.
    first: u64,
    /// Last index.
    last: u64,
    /// The chain's hash at the last index.
    hash: String,
    /// The first index whose stored hash differs from the computed one; absent: the chain verifies.
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<u64>,
}

async fn verify(call: Call) -> Result<Found<Verification>, Failure> {
    let said = call.ask::<VerifyLog>(Empty {}).await?;
    Ok(Found(Verification { first: said.first, last: said.last, hash: said.hash, broken_at: said.broken_at }))
}

/// The entry that was declared.
#[derive(Debug, Serialize, ToSchema)]
struct Undone {
    /// Its index.
    index: u64,
    /// The object.
    uid: Uid,
}

async fn undo(call: Call) -> Result<Found<Undone>, Failure> {
    let written = call.ask::<Undo>(UndoRequest { index: call.path("index")? }).await?;
    Ok(Found(Undone { index: written.index, uid: written.uid }))
}

async fn leases(call: Call) -> Result<Found<List<Lease>>, Failure> {
    let leases = call.ask::<ListLeases>(Empty {}).await?.leases;
    Ok(Found(List::part(&call, leases, |lease| lease.name.to_string())?))
}
