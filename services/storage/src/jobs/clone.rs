//! Copying a volume.

use acp_base::{Failure, Name};
use acp_io_jobs::JobHandle;
use acp_wire_api::{
    jobs::Started,
    worker::{Copy, CopyRequest},
};
use acp_wire_model::Kind;
use serde::{Deserialize, Serialize};

use super::{CLONE, cancelled, wait_for_pool};
use crate::{
    api::{Api, volume_file},
    metrics,
};

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
    let is_there = async {
        wait_for_pool(&api, &detail.pool).await?;
        let pool = api.fresh_pool(&detail.pool).await?;
        Ok::<_, Failure>(pool.volume(&detail.target).is_some())
    };
    let is_there = tokio::select! {
        () = drain.cancelled() => return,
        is_there = is_there => is_there,
    };
    match is_there {
        Ok(true) => job.finish(Ok(())),
        Ok(false) => run(api, job, detail).await,
        Err(failure) => job.finish(Err(failure.context("the copy was interrupted and cannot be taken up"))),
    }
}

/// Copies and ends the job; leaves it for the next life when the daemon drains.
async fn run(api: Api, job: JobHandle, detail: CloneDetail) {
    let result = tokio::select! {
        () = api.context.drain.cancelled() => return,
        () = job.cancelled() => Err(cancelled()),
        result = copy(&api, &job, &detail) => result,
    };
    let result = api.heed(&detail.pool, result);
    metrics::job_ended(CLONE, result.is_ok());
    api.changed(&detail.pool).await;
    job.finish(result);
}

async fn copy(api: &Api, job: &JobHandle, detail: &CloneDetail) -> Result<(), Failure> {
    job.step("copying", Some(0));
    let request = CopyRequest { source: volume_file(&detail.source), target: detail.target.to_string() };
    let mut replies = api.worker(&detail.pool).stream::<Copy>(request).await?;
    while let Some(reply) = replies.next().await {
        let reply = reply?;
        if reply.done.is_some() {
            return Ok(());
        }
        job.step("copying", Some(reply.percent));
    }
    Err(Failure::unavailable("the pool's worker ended while it copied: start the clone again"))
}
