//! Importing an image: fetch, measure, inspect, verify, put into place.

use std::os::fd::OwnedFd;

use acp_base::Failure;
use acp_core_storeplan::{Content, HEAD_BYTES, Place, Source, check_sha256, inspect};
use acp_io_daemon::Sink;
use acp_io_failpoint::point;
use acp_wire_api::worker::{FileInfo, Import, ImportReply, ImportRequest};
use acp_wire_model::image::DiskFormat;
use tokio::sync::watch;

use super::{
    Worker, WorkerError, blocking,
    directory::Directory,
    download::Download,
    inventory,
    retrieve::{self, Bounds, Progress, Retrieved, Stop},
    staged::Staged,
    tool,
    volume::{PROGRESS_PAUSE, stage},
};

/// Where an image comes from.
enum Origin {
    Descriptor(OwnedFd),
    Url(Source),
}

impl Worker {
    /// Imports an image and says how far it is.
    pub(super) async fn import(
        self,
        request: ImportRequest,
        fds: Vec<OwnedFd>,
        sink: Sink<Import>,
    ) -> Result<ImportReply, Failure> {
        let (progress, seen) = watch::channel(Progress::default());
        let work = self.import_file(request, fds, progress);
        tokio::pin!(work);
        let mut said = None;
        let mut pause = tokio::time::interval(PROGRESS_PAUSE);
        loop {
            tokio::select! {
                done = &mut work => {
                    let (info, sha256) = done?;
                    return Ok(ImportReply { percent: Some(100), done: Some(info), sha256: Some(sha256) });
                }
                _ = pause.tick() => {
                    let percent = seen.borrow().percent();
                    if percent != said {
                        said = percent;
                        sink.send(ImportReply { percent, done: None, sha256: None }).await?;
                    }
                }
            }
        }
    }

    async fn import_file(
        &self,
        request: ImportRequest,
        fds: Vec<OwnedFd>,
        progress: watch::Sender<Progress>,
    ) -> Result<(FileInfo, String), WorkerError> {
        let place = Place::Image(request.uid);
        let wanted = request.sha256.as_deref().map(check_sha256).transpose()?;
        let origin = origin(request.url.as_deref(), fds)?;
        let directory = self.directory().await?;
        self.check_space(&directory, None).await?;
        let staged = stage(&directory).await?;
        let (staged, retrieved) = self.retrieve(origin, staged, &directory, progress).await?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != retrieved.sha256) {
            return Err(WorkerError::Checksum { found: retrieved.sha256, wanted });
        }
        point("storage-worker.import.retrieved")?;
        let (staged, format) = self.verify(staged, retrieved.bytes).await?;
        point("storage-worker.import.verified")?;
        let _changing = self.changes.lock().await;
        let info = self.put(&directory, staged, place, format).await?;
        Ok((info, retrieved.sha256))
    }

    async fn retrieve(
        &self,
        origin: Origin,
        staged: Staged,
        directory: &Directory,
        progress: watch::Sender<Progress>,
    ) -> Result<(Staged, Retrieved), WorkerError> {
        let bounds = Bounds {
            bytes_max: self.config.image_bytes_max,
            reserve_bytes: self.config.reserve_bytes,
            stall_limit: self.config.stall_limit(),
        };
        let stop = Stop::default();
        let (flag, space) = (stop.flag(), directory.clone());
        match origin {
            Origin::Descriptor(source) => {
                let length = retrieve::length(&source);
                blocking(move || {
                    let retrieved = retrieve::copy(&source, staged.file(), &bounds, &space, &flag, |bytes| {
                        progress.send_replace(Progress { bytes, total: length });
                        Ok(length)
                    })?;
                    Ok((staged, retrieved))
                })
                .await
            }
            Origin::Url(url) => {
                let (download, headers) = Download::start(&url, &self.config)?;
                let (source, download) = download.into_parts()?;
                let copy = blocking(move || {
                    let retrieved = retrieve::copy(&source, staged.file(), &bounds, &space, &flag, |bytes| {
                        let total = headers.length();
                        progress.send_replace(Progress { bytes, total });
                        Ok(total)
                    });
                    // The end of the reader ends a server that goes on sending after a refusal.
                    drop(source);
                    retrieved.map(|retrieved| (staged, retrieved))
                });
                let (copied, ended) = tokio::join!(copy, download.finish());
                let copied = copied?;
                ended.map(|()| copied)
            }
        }
    }

    /// Whether the staged file is an image that is whole and stands alone.
    async fn verify(&self, staged: Staged, bytes: u64) -> Result<(Staged, DiskFormat), WorkerError> {
        let (staged, content) = blocking(move || {
            let head = inventory::head(staged.file(), HEAD_BYTES).map_err(WorkerError::io("read the image"))?;
            Ok((staged, inspect(&head, bytes)?))
        })
        .await?;
        if let Content::Qcow2(_) = content {
            tool::check(&staged, self.config.check_limit()).await?;
        }
        let staged = blocking(move || {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::fchmod(staged.file(), mode).map_err(WorkerError::errno("make the image read-only"))?;
            Ok(staged)
        })
        .await?;
        Ok((staged, content.format()))
    }
}

fn origin(url: Option<&str>, mut fds: Vec<OwnedFd>) -> Result<Origin, WorkerError> {
    match (url, fds.pop(), fds.is_empty()) {
        (Some(url), None, _) => Ok(Origin::Url(Source::parse(url)?)),
        (None, Some(descriptor), true) => Ok(Origin::Descriptor(descriptor)),
        _ => Err(WorkerError::Invalid("an image comes from a URL or from exactly one file descriptor".into())),
    }
}
