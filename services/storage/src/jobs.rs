//! Jobs: importing an image, copying a volume, and taking up what an earlier life of the daemon had begun.

mod clone;
mod import;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use acp_base::{Change, Failure, Name, Uid};
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

/// The pause between two looks for images' files that are still to be removed. The directory that is looked into is almost
/// always empty; a worker that was away is back within a few seconds.
const REMOVALS_PAUSE: Duration = Duration::from_secs(5);

/// A deletion whose answer was lost was not ordered if the image is there after so long: twice as long as the cluster service
/// waits for an entry to be ordered.
const SETTLED_AFTER: Duration = Duration::from_secs(20);

/// The verbs of our jobs.
const IMPORT: &str = "image-import";
const CLONE: &str = "volume-clone";

/// Takes up interrupted jobs, and removes files of deleted images that could not be removed at once, until the drain.
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

/// Removes the files of images whose deletion was interrupted, again and again.
async fn finish_removals(api: &Api) {
    let mut since = BTreeMap::new();
    loop {
        match api.records.removals() {
            Ok(removals) => finish_each(api, removals, &mut since).await,
            Err(error) => tracing::warn!(%error, "the record of removals cannot be read"),
        }
        tokio::time::sleep(REMOVALS_PAUSE).await;
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
async fn wait_for_pool(api: &Api, pool: &Name) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + POOL_LIMIT;
    loop {
        match api.ready_pool(pool).await {
            Ok(_) => return Ok(()),
            Err(failure) if tokio::time::Instant::now() >= deadline => return Err(failure),
            Err(_not_yet) => tokio::time::sleep(POOL_PAUSE).await,
        }
    }
}

/// `since` says when each was looked for first.
async fn finish_each(api: &Api, removals: Vec<(Uid, Name)>, since: &mut BTreeMap<Uid, Instant>) {
    since.retain(|image, _| removals.iter().any(|(planned, _)| planned == image));
    for (image, pool) in removals {
        let first = *since.entry(image).or_insert_with(Instant::now);
        match finish_removal(api, image, &pool).await {
            Ok(true) => api.records.forget_removal(image),
            Ok(false) if first.elapsed() >= SETTLED_AFTER => {
                tracing::info!(%image, "the image is there: its deletion was not ordered");
                api.records.forget_removal(image);
            }
            Ok(false) => {}
            Err(failure) => tracing::info!(%image, reason = %failure, "the file of a deleted image stays for now"),
        }
    }
}

/// Removes the file of an image that is gone; answers whether it is.
async fn finish_removal(api: &Api, image: Uid, pool: &Name) -> Result<bool, Failure> {
    api.ready_pool(pool).await?;
    // As everybody would find it now: a record is not forgotten by what is old here.
    if api.find_newest(Kind::Image, image).await?.is_some() {
        return Ok(false);
    }
    tracing::info!(%image, %pool, "the file of a deleted image is removed");
    let request = FileRequest { file: image_file(image) };
    let removed = api.worker(pool).call::<Remove>(request).await;
    api.heed(pool, removed)?;
    api.changed(pool).await;
    Ok(true)
}

fn cancelled() -> Failure {
    Failure::new(acp_base::Code::Cancelled, "the job was cancelled; nothing of it is left")
}
