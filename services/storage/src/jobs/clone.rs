//! Copying a volume.

use std::time::Duration;

use acp_base::{Code, Failure, Name};
use acp_io_failpoint::point;
use acp_io_jobs::JobHandle;
use acp_wire_api::{
    jobs::Started,
    worker::{Copy, CopyRequest},
};
use acp_wire_model::Kind;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{CLONE, cancelled, wait_for_pool};
use crate::{
    api::{Api, volume_file},
    metrics,
};

/// How long a worker that broke off may take to come back and say whether the copy is there.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// What is stored of a copy. A copy appears whole or not at all, so this is all that is needed to take it up again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CloneDetail {
    pub(crate) pool: Name,
    pub(crate) source: Name,
    pub(crate) target: Name,
}

/// Starts a job that copies a volume.
pub(crate) fn start_clone(api: &Api, detail: CloneDetail) -> Result<Started, Failure> {
    let stored =
        serde_json::to_value(&detail).map_err(|error| Failure::internal(format!("the job's detail: {error}")))?;
    let name = format!("{}/{}", detail.pool, detail.target);
    let job = api.jobs.begin(CLONE, Kind::Volume, &name, stored, true)?;
    let id = job.id();
    let own = api.clone();
    api.context.tasks.spawn("clone", async move { run(own, job, detail).await });
    Ok(Started { job: Some(id) })
}

/// Takes up a copy: done if the target is there, else begun anew.
pub(super) async fn resume(api: Api, job: JobHandle, detail: CloneDetail) {
    let drain = api.context.drain.clone();
    let is_there = tokio::select! {
        () = drain.cancelled() => return,
        is_there = is_there(&api, &detail) => is_there,
    };
    match is_there {
        Ok(true) => job.finish(Ok(())),
        Ok(false) => run(api, job, detail).await,
        Err(failure) => job.finish(Err(failure.context("the copy was interrupted and cannot be taken up"))),
    }
}

async fn is_there(api: &Api, detail: &CloneDetail) -> Result<bool, Failure> {
    wait_for_pool(api, &detail.pool).await?;
    let pool = api.fresh_pool(&detail.pool).await?;
    Ok(pool.volume(&detail.target).is_some())
}

/// Copies and ends the job; leaves it for the next life when the daemon drains.
async fn run(api: Api, job: JobHandle, detail: CloneDetail) {
    let result = tokio::select! {
        () = api.context.drain.cancelled() => return,
        () = job.cancelled() => Err(cancelled()),
        result = copy_surely(&api, &job, &detail) => result,
    };
    metrics::job_ended(CLONE, result.is_ok());
    api.changed(&detail.pool).await;
    job.finish(result);
}

/// Copies; when the worker's answer is lost, looks whether the copy is there, as a successor would.
async fn copy_surely(api: &Api, job: &JobHandle, detail: &CloneDetail) -> Result<(), Failure> {
    let copied = api.heed(&detail.pool, copy(api, job, detail).await);
    match copied {
        Err(failure) if failure.code == Code::Unavailable => {
            job.step("looking for the copy", None);
            let looked = timeout(LOOK_LIMIT, is_there(api, detail)).await;
            if matches!(looked, Ok(Ok(true))) { Ok(()) } else { Err(failure) }
        }
        copied => copied,
    }
}

async fn copy(api: &Api, job: &JobHandle, detail: &CloneDetail) -> Result<(), Failure> {
    job.step("copying", Some(0));
    let request = CopyRequest { source: volume_file(&detail.source), target: detail.target.to_string() };
    let mut replies = api.worker(&detail.pool).stream::<Copy>(request).await?;
    while let Some(reply) = replies.next().await {
        let reply = reply?;
        if reply.done.is_some() {
            return Ok(point("storage.clone.copied")?);
        }
        job.step("copying", Some(reply.percent));
    }
    Err(Failure::unavailable("the pool's worker ended while it copied: start the clone again"))
}
