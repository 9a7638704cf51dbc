//! Importing an image: the worker writes the file, then the image is declared.

use std::{os::fd::OwnedFd, time::Duration};

use acp_base::{ByteSize, Code, Failure, Name, Uid};
use acp_io_failpoint::point;
use acp_io_jobs::JobHandle;
use acp_wire_api::{
    cluster::{Create, CreateRequest},
    jobs::Started,
    worker::{FileInfo, FileRequest, Import, ImportReply, ImportRequest, Remove},
};
use acp_wire_model::{
    Kind,
    image::{DiskFormat, ImageSpec},
};
use serde::{Deserialize, Serialize};

use super::{IMPORT, cancelled, wait_for_pool};
use crate::{
    api::{Api, image_file},
    metrics,
};

/// How often the declaration of an image is tried while the cluster service does not answer.
const DECLARE_ATTEMPTS_MAX: u32 = 120;
/// The pause between two of them.
const DECLARE_PAUSE: Duration = Duration::from_secs(2);

/// The pause before the file of an import that failed is removed again.
const REMOVE_PAUSE: Duration = Duration::from_secs(1);

/// What is stored of an import: enough to take it up from a URL, to declare a file that is in place, or to undo it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImportDetail {
    pub(crate) name: Name,
    pub(crate) pool: Name,
    /// Identity of the image to be, and so the name of its file.
    pub(crate) uid: Uid,
    /// Where it is fetched, credentials included; the job's file is readable by its owner alone.
    pub(crate) url: Option<String>,
    pub(crate) source: String,
    pub(crate) sha256: Option<String>,
    /// The file in place.
    pub(crate) done: Option<Imported>,
}

/// A file in place that is not yet declared.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Imported {
    format: DiskFormat,
    size_bytes: ByteSize,
    virtual_size_bytes: ByteSize,
    sha256: String,
}

impl Imported {
    fn new(info: &FileInfo, sha256: String) -> Self {
        Self { format: info.format, size_bytes: info.file_bytes, virtual_size_bytes: info.virtual_size_bytes, sha256 }
    }
}

/// Starts a job that imports an image.
pub(crate) fn start_import(api: &Api, detail: ImportDetail, fds: Vec<OwnedFd>) -> Result<Started, Failure> {
    let job = api.jobs.begin(IMPORT, Kind::Image, detail.name.as_str(), stored(&detail)?, true)?;
    let id = job.id();
    let own = api.clone();
    api.context.tasks.spawn("import", async move { run(own, job, detail, fds).await });
    Ok(Started { job: Some(id) })
}

fn stored(detail: &ImportDetail) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(detail).map_err(|error| Failure::internal(format!("the job's detail: {error}")))
}

/// Takes up an import: declares a file in place, fetches one from its URL again, or undoes what cannot go on.
pub(super) async fn resume(api: Api, job: JobHandle, detail: ImportDetail) {
    let drain = api.context.drain.clone();
    let ready = tokio::select! {
        () = drain.cancelled() => return,
        ready = prepare(&api, &detail) => ready,
    };
    match ready {
        Ok(true) => run(api, job, detail, Vec::new()).await,
        Ok(false) => job.finish(Err(Failure::unavailable(
            "the import was interrupted when the storage service stopped, and the file it read is gone; nothing of it is \
             left: import the image again",
        ))),
        Err(failure) => job.finish(Err(failure.context("the import was interrupted and cannot be taken up"))),
    }
}

/// Whether the import can go on; what an earlier life left in place and did not record is removed.
async fn prepare(api: &Api, detail: &ImportDetail) -> Result<bool, Failure> {
    wait_for_pool(api, &detail.pool).await?;
    if detail.done.is_some() {
        return Ok(true);
    }
    remove(api, detail).await?;
    Ok(detail.url.is_some())
}

/// Imports and ends the job; leaves it for the next life when the daemon drains.
async fn run(api: Api, job: JobHandle, mut detail: ImportDetail, fds: Vec<OwnedFd>) {
    if detail.done.is_none() {
        let fetched = tokio::select! {
            () = api.context.drain.cancelled() => return,
            () = job.cancelled() => Err(cancelled()),
            fetched = fetch(&api, &job, &detail, fds) => fetched,
        };
        match api.heed(&detail.pool, fetched) {
            Ok(imported) => detail.done = Some(imported),
            Err(failure) => return end(&api, &job, &detail, Err(failure)).await,
        }
    }
    job.set_cancellable(false);
    job.step("declaring", None);
    let declared = tokio::select! {
        () = api.context.drain.cancelled() => return,
        declared = record_and_declare(&api, &job, &detail) => declared,
    };
    end(&api, &job, &detail, declared).await;
}

async fn end(api: &Api, job: &JobHandle, detail: &ImportDetail, result: Result<(), Failure>) {
    let result = match result {
        Ok(()) => Ok(()),
        Err(failure) => undo(api, detail, failure).await,
    };
    metrics::job_ended(IMPORT, result.is_ok());
    api.changed(&detail.pool).await;
    job.finish(result);
}

async fn fetch(api: &Api, job: &JobHandle, detail: &ImportDetail, fds: Vec<OwnedFd>) -> Result<Imported, Failure> {
    let step = if detail.url.is_some() { "downloading" } else { "copying" };
    job.step(step, None);
    let request = ImportRequest { uid: detail.uid, url: detail.url.clone(), sha256: detail.sha256.clone() };
    let mut replies = api.worker(&detail.pool).stream_fds::<Import>(request, fds).await?;
    while let Some(reply) = replies.next().await {
        match reply? {
            ImportReply { done: Some(info), sha256: Some(sha256), .. } => {
                point("storage.import.fetched")?;
                return Ok(Imported::new(&info, sha256));
            }
            ImportReply { percent, .. } => job.step(step, percent),
        }
    }
    Err(Failure::unavailable("the pool's worker ended while it imported: import the image again"))
}

async fn record_and_declare(api: &Api, job: &JobHandle, detail: &ImportDetail) -> Result<(), Failure> {
    job.detail(&stored(detail)?)?;
    let mut attempt = 1;
    loop {
        match declare(api, detail).await {
            Err(failure) if is_passing(&failure) && attempt < DECLARE_ATTEMPTS_MAX => {
                job.step("waiting for the cluster service", None);
                attempt += 1;
                tokio::time::sleep(DECLARE_PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Declares the image, once: an earlier attempt whose answer was lost is found by the uid.
async fn declare(api: &Api, detail: &ImportDetail) -> Result<(), Failure> {
    if api.find_uid(Kind::Image, detail.uid).await?.is_some() {
        return Ok(());
    }
    let Some(done) = &detail.done else { return Err(Failure::internal("an image is declared before it is there")) };
    let spec = ImageSpec {
        node: Some(api.context.node.clone()),
        pool: detail.pool.clone(),
        format: done.format,
        size_bytes: done.size_bytes,
        virtual_size_bytes: done.virtual_size_bytes,
        sha256: done.sha256.clone(),
        source: detail.source.clone(),
    };
    let spec = serde_json::to_value(spec).map_err(|error| Failure::internal(format!("the image's spec: {error}")))?;
    let request = CreateRequest { kind: Kind::Image, name: detail.name.clone(), uid: Some(detail.uid), spec };
    api.cluster().call::<Create>(request).await?;
    Ok(point("storage.import.declared")?)
}

fn is_passing(failure: &Failure) -> bool {
    matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded)
}

/// Removes the file of an import that failed, unless the image was declared after all: then it is imported.
async fn undo(api: &Api, detail: &ImportDetail, failure: Failure) -> Result<(), Failure> {
    let undone = match api.find_uid(Kind::Image, detail.uid).await {
        Ok(None) => remove_again(api, detail).await,
        Ok(Some(_)) => return Ok(()),
        Err(unknown) => Err(unknown),
    };
    Err(match undone {
        Ok(()) => failure,
        Err(error) => {
            tracing::warn!(image = %detail.name, reason = %error, "the file of a failed import cannot be removed");
            if let Err(error) = api.records.plan_removal(detail.uid, &detail.pool) {
                tracing::warn!(image = %detail.name, %error, "nor can it be recorded that it is to be removed");
            }
            failure.changed(acp_base::Change::Partial)
        }
    })
}

/// Removes the file, also when the worker that was at it has ended and its successor is not there yet.
async fn remove_again(api: &Api, detail: &ImportDetail) -> Result<(), Failure> {
    match remove(api, detail).await {
        Err(failure) if is_passing(&failure) => {
            tokio::time::sleep(REMOVE_PAUSE).await;
            remove(api, detail).await
        }
        removed => removed,
    }
}

async fn remove(api: &Api, detail: &ImportDetail) -> Result<(), Failure> {
    let request = FileRequest { file: image_file(detail.uid) };
    api.worker(&detail.pool).call::<Remove>(request).await.map(drop)
}
