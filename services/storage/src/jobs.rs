//! Jobs: importing an image, copying a volume, and taking up what an earlier life of the daemon had begun.

mod clone;
mod import;

use std::time::Duration;

use acp_base::{Change, Failure};
use acp_io_jobs::{Interrupted, JobHandle};
use acp_wire_api::worker::{FileRequest, Remove};
use acp_wire_model::Kind;
use serde_json::Value;

use crate::api::{Api, image_file};

pub(crate) use clone::{CloneDetail, start_clone};
pub(crate) use import::{ImportDetail, start_import};

/// How long a resumed job waits for its pool.
const POOL_LIMIT: Duration = Duration::from_secs(300);
/// The pause between two looks whether the pool is there.
const POOL_PAUSE: Duration = Duration::from_secs(1);

/// The verbs of our jobs.
const IMPORT: &str = "image-import";
const CLONE: &str = "volume-clone";

/// Takes up interrupted jobs and removals once the pools are known.
pub(crate) async fn resume(api: Api, interrupted: Vec<Interrupted>) {
    let drain = api.context.drain.clone();
    for (job, detail) in interrupted {
        let own = api.clone();
        api.context.tasks.spawn("resumed job", async move { resume_job(own, job, detail).await });
    }
    tokio::select! {
        () = drain.cancelled() => {}
        () = finish_removals(&api) => {}
    }
}

async fn resume_job(api: Api, job: JobHandle, detail: Value) {
    let verb = job.job().map(|job| job.verb).unwrap_or_default();
    tracing::info!(job = %job.id(), verb, "an interrupted job is taken up");
    match verb.as_str() {
        IMPORT => match serde_json::from_value(detail) {
            Ok(detail) => import::resume(api, job, detail).await,
            Err(error) => job.finish(Err(unreadable(&error))),
        },
        CLONE => match serde_json::from_value(detail) {
            Ok(detail) => clone::resume(api, job, detail).await,
            Err(error) => job.finish(Err(unreadable(&error))),
        },
        other => job.finish(Err(Failure::internal(format!("no job {other:?} is known here; it is given up")))),
    }
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::internal(format!("what was stored of the job cannot be read, so it is given up: {error}"))
        .changed(Change::Unknown)
}

/// Waits until a pool can be used.
async fn wait_for_pool(api: &Api, pool: &acp_base::Name) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + POOL_LIMIT;
    loop {
        match api.ready_pool(pool).await {
            Ok(_) => return Ok(()),
            Err(failure) if tokio::time::Instant::now() >= deadline => return Err(failure),
            Err(_not_yet) => tokio::time::sleep(POOL_PAUSE).await,
        }
    }
}

/// Removes the files of images whose deletion was interrupted.
async fn finish_removals(api: &Api) {
    let removals = match api.records.removals() {
        Ok(removals) => removals,
        Err(error) => {
            tracing::warn!(%error, "the record of removals cannot be read");
            return;
        }
    };
    for (image, pool) in removals {
        match finish_removal(api, image, &pool).await {
            Ok(()) => api.records.forget_removal(image),
            Err(failure) => tracing::warn!(%image, reason = %failure, "an image's file stays until the next start"),
        }
    }
}

async fn finish_removal(api: &Api, image: acp_base::Uid, pool: &acp_base::Name) -> Result<(), Failure> {
    wait_for_pool(api, pool).await?;
    if api.find_uid(Kind::Image, image).await?.is_some() {
        return Ok(());
    }
    tracing::info!(%image, %pool, "the file of a deleted image is removed");
    let request = FileRequest { file: image_file(image) };
    let removed = api.worker(pool).call::<Remove>(request).await;
    api.heed(pool, removed)?;
    api.changed(pool).await;
    Ok(())
}

fn cancelled() -> Failure {
    Failure::new(acp_base::Code::Cancelled, "the job was cancelled; nothing of it is left")
}
