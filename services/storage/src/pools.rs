//! Declaring a pool.

use std::time::Duration;

use acp_base::{Change, Code, Failure, Name, Uid};
use acp_core_storeplan::{check_path, overlap};
use acp_io_daemon::{Call, Context};
use acp_wire_api::{
    Empty,
    cluster::{Create, CreateRequest, Delete, DeleteRequest},
    storage::{CreatePool, CreatePoolRequest},
};
use acp_wire_model::{
    Kind,
    pool::{PoolDriver, PoolSpec},
};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    api::Api,
    view::{Status, View},
};

/// How long a new pool may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// What is kept of the caller's time for the answer and for undoing.
const RESERVE: Duration = Duration::from_secs(3);

/// The directory of a pool that names none.
pub(crate) fn default_path(context: &Context, name: &Name) -> String {
    context.paths.state.join("pools").join(name.as_str()).display().to_string()
}

/// Declares a pool and waits until it is ready; undoes the declaration if it does not become so. The work goes on when the
/// caller goes away, so that nothing half done stays.
pub(crate) async fn create(api: Api, call: Call<CreatePool>) -> Result<Empty, Failure> {
    let left = call.context.deadline.saturating_duration_since(Instant::now());
    let limit = READY_LIMIT.min(left.saturating_sub(RESERVE));
    let (answer, answered) = oneshot::channel();
    let tasks = api.context.tasks.clone();
    tasks.spawn("create pool", async move {
        let result = create_and_wait(&api, call.request, limit).await;
        if answer.send(result).is_err() {
            tracing::debug!("whoever asked for the pool is gone");
        }
    });
    // What was begun and is not answered may have been done.
    let given_up = || Failure::unavailable("the storage service is stopping").changed(Change::Unknown);
    answered.await.unwrap_or_else(|_dropped| Err(given_up()))
}

async fn create_and_wait(api: &Api, request: CreatePoolRequest, limit: Duration) -> Result<Empty, Failure> {
    let view = api.synced_view().await?;
    let path = request.path.clone().unwrap_or_else(|| default_path(&api.context, &request.name));
    check_path(&path).map_err(|error| Failure::invalid(error.to_string()))?;
    check_overlap(&view, &request.name, &path)?;
    let spec = PoolSpec { driver: PoolDriver::Directory, node: api.context.node.clone(), path: request.path };
    let spec = serde_json::to_value(spec).map_err(|error| Failure::internal(format!("the pool's spec: {error}")))?;
    let declaration = CreateRequest { kind: Kind::Pool, name: request.name.clone(), uid: None, spec };
    let uid = api.cluster().call::<Create>(declaration).await?.uid;
    match wait_until_ready(api, &request.name, uid, limit).await {
        Ok(()) => Ok(Empty {}),
        Err(failure) => Err(undo(api, uid, failure).await),
    }
}

fn check_overlap(view: &View, name: &Name, path: &str) -> Result<(), Failure> {
    let taken = view.pools.iter().find(|(other, pool)| *other != name && overlap(&pool.path, path));
    match taken {
        None => Ok(()),
        Some((other, pool)) => Err(Failure::new(
            Code::AlreadyExists,
            format!("the directory {path} overlaps with that of pool {other}, {}: choose another one", pool.path),
        )),
    }
}

async fn wait_until_ready(api: &Api, name: &Name, uid: Uid, limit: Duration) -> Result<(), Failure> {
    let is_decided = |view: &View| {
        let pool = view.pools.get(name).filter(|pool| pool.uid == uid);
        pool.is_some_and(|pool| !matches!(pool.status, Status::Starting))
    };
    let view = api.wait_for(limit, is_decided).await;
    let status = view.as_ref().and_then(|view| view.pools.get(name)).map(|pool| &pool.status);
    match status {
        Some(Status::Ready(_)) => Ok(()),
        Some(Status::Failed { reason, .. }) => Err(Failure::precondition(format!("the pool {name}: {reason}"))),
        Some(Status::Starting) | None => {
            let text = format!("the pool {name} was not ready within {} s; it is not made", limit.as_secs());
            Err(Failure::new(Code::DeadlineExceeded, text))
        }
    }
}

async fn undo(api: &Api, uid: Uid, failure: Failure) -> Failure {
    let undone = api.cluster().call::<Delete>(DeleteRequest { kind: Kind::Pool, uid }).await;
    match undone {
        Ok(_) => failure,
        Err(error) => {
            tracing::warn!(%uid, reason = %error, "the declaration of a pool that failed cannot be taken back");
            failure.changed(Change::Partial)
        }
    }
}
