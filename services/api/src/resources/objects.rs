//! Objects of any kind, with every slot as its reporter wrote it.

use acp_base::{Failure, Uid};
use acp_wire_api::cluster::{self, Get, GetRequest};
use acp_wire_model::{Kind, Object};

use super::views::part;
use crate::{
    answer::{Found, List},
    call::Call,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get("/objects/{kind}", "listObjects", "Lists the objects of a kind with their slots.", list)
            .paged()
            .calls::<cluster::List>(),
        Operation::get("/objects/{kind}/{object}", "getObject", "Answers one object with its slots.", show)
            .calls::<Get>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

async fn list(call: Call) -> Result<Found<List<Object>>, Failure> {
    let kind: Kind = call.path("kind")?;
    Ok(Found(part(&call, Some(kind)).await?))
}

/// By id if the path names one, else by name. A job's name is its id.
async fn show(call: Call) -> Result<Found<Object>, Failure> {
    let (kind, text): (Kind, String) = (call.path("kind")?, call.path("object")?);
    let (name, uid) = text.parse::<Uid>().map_or((Some(text), None), |uid| (None, Some(uid)));
    Ok(Found(call.ask::<Get>(GetRequest { kind, name, uid, min_index: None }).await?.object))
}
