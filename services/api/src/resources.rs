//! What there is to read and to do, a module for each noun. Each operation turns a request into calls of the services and
//! their replies into an answer; nothing is decided here.

mod cluster;
mod history;
mod jobs;
mod keys;
mod members;
mod networks;
mod nodes;
mod objects;
mod own;
mod quorum;
mod services;
mod storage;
mod systems;
mod views;
mod watch;

use acp_base::{Change, Failure, Name};
use acp_wire_api::cluster::{Get, GetRequest};
use views::View;

use crate::{answer::Created, call::Call, operation::Operation};

/// Every operation.
pub(crate) fn all() -> Vec<Operation> {
    let parts = [
        own::operations(),
        nodes::operations(),
        members::operations(),
        cluster::operations(),
        quorum::operations(),
        history::operations(),
        systems::operations(),
        networks::operations(),
        storage::operations(),
        services::operations(),
        jobs::operations(),
        keys::operations(),
        objects::operations(),
        watch::operations(),
    ];
    parts.into_iter().flatten().collect()
}

/// What was just made, as it is read at `/<folder>/<name>`.
async fn made<V: View>(call: &Call, name: Name, folder: &str) -> Result<Created<V>, Failure> {
    let href = call.href(&format!("/{folder}/{name}"));
    let request = GetRequest {
        kind: V::KIND,
        name: Some(name.to_string()),
        uid: None,
        node: None,
        min_index: None,
        linearizable: false,
        here: None,
    };
    let read = call.ask::<Get>(request).await;
    // It was made, whatever becomes of reading it.
    let read = read.map_err(|failure| failure.changed(Change::Partial).context(format!("{name} was made")))?;
    Ok(Created(href, V::of(read.object)))
}
