//! Objects of any kind, with every slot as its reporter wrote it.

use acp_base::{Failure, Uid};
use acp_wire_api::cluster::{
    self, Get, GetAt, GetAtReply, GetAtRequest, GetRequest, ListAt, ListAtReply, ListAtRequest,
};
use acp_wire_model::{Kind, Object};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::views::{Part, part};
use crate::{
    answer::{Found, List},
    call::Call,
    operation::Operation,
    parameter,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get("/objects/{kind}", "listObjects", "Lists the objects of a kind with their slots.", list)
            .paged()
            .calls::<cluster::List>(),
        Operation::get("/objects/{kind}/{object}", "getObject", "Answers one object with its slots.", show)
            .takes(&[&parameter::CONSISTENT])
            .calls::<Get>(),
        Operation::get(
            "/objects/{kind}/{object}/at/{index}",
            "getObjectAt",
            "Answers what was asked of an object when the entry of that index had been applied.",
            show_at,
        )
        .calls::<GetAt>(),
        Operation::get(
            "/objects/{kind}/at/{index}",
            "listObjectsAt",
            "Lists what was asked of the objects of a kind when the entry of that index had been applied.",
            list_at,
        )
        .paged()
        .calls::<ListAt>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

async fn list(call: Call) -> Result<Found<List<Object>>, Failure> {
    let kind: Kind = call.path("kind")?;
    Ok(Found(part(&call, Some(kind)).await?))
}

/// By id if the path names one, else by name. A job's name is its id.
async fn show(call: Call) -> Result<Found<Object>, Failure> {
    let (kind, name, uid) = named(&call)?;
    let linearizable = call.query("consistent")?.unwrap_or(false);
    let request = GetRequest { kind, name, uid, node: None, min_index: None, linearizable, here: None };
    Ok(Found(call.ask::<Get>(request).await?.object))
}

fn named(call: &Call) -> Result<(Kind, Option<String>, Option<Uid>), Failure> {
    let (kind, text): (Kind, String) = (call.path("kind")?, call.path("object")?);
    let (name, uid) = text.parse::<Uid>().map_or((Some(text), None), |uid| (None, Some(uid)));
    Ok((kind, name, uid))
}

/// An object as it was.
#[derive(Debug, Serialize, ToSchema)]
struct PastObject {
    /// The kind.
    kind: Kind,
    /// The name that it had.
    name: String,
    /// The identity.
    uid: Uid,
    /// The index of the entry that had last changed the spec.
    version: u64,
    /// What was asked.
    spec: Value,
    /// When the entry of the index asked for was ordered, in milliseconds since the Unix epoch.
    time_ms: u64,
}

async fn show_at(call: Call) -> Result<Found<PastObject>, Failure> {
    let (kind, name, uid) = named(&call)?;
    let was = call.ask::<GetAt>(GetAtRequest { kind, name, uid, node: None, index: call.path("index")? }).await?;
    let GetAtReply { uid, name, version, spec, time_ms } = was;
    Ok(Found(PastObject { kind, name, uid, version, spec, time_ms }))
}

/// The state of then is made anew for each part of the list.
async fn list_at(call: Call) -> Result<Found<List<PastObject>>, Failure> {
    let mut part = Part::new(&call, |object: &PastObject| (object.name.as_str(), object.uid))?;
    let request = ListAtRequest { kind: Some(call.path("kind")?), selectors: Vec::new(), index: call.path("index")? };
    let mut replies = call.service("cluster").stream::<ListAt>(request).await?.bounded();
    while let Some(reply) = replies.next().await {
        let ListAtReply { objects, time_ms } = reply?;
        let was = |cluster::PastObject { kind, uid, name, version, spec }| PastObject {
            kind,
            name,
            uid,
            version,
            spec,
            time_ms,
        };
        if part.take(objects.into_iter().map(was)) {
            break;
        }
    }
    Ok(Found(part.into_list()))
}
