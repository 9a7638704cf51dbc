//! Making, copying, enlarging, removing and opening volumes.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::atomic::{AtomicU32, Ordering},
};

use acp_base::{ByteSize, Failure, Name};
use acp_core_storeplan::{Chain, ChainError, Place, check_expansion, check_size};
use acp_io_daemon::Sink;
use acp_io_failpoint::point;
use acp_wire_api::{
    storage::Layer,
    worker::{Copy, CopyReply, CopyRequest, CreateRequest, ExpandRequest, FileInfo, FileRef, OpenReply},
};
use acp_wire_model::image::DiskFormat;
use rustix::fs::OFlags;

use super::{
    Worker, WorkerError, blocking,
    directory::Directory,
    inventory::{self, Inventory},
    lock,
    staged::Staged,
    tool::{self, ResizeError},
};

/// What a new volume shall be.
struct Wanted {
    place: Place,
    format: DiskFormat,
    size: ByteSize,
    backing: Option<(Place, DiskFormat)>,
}

impl Worker {
    /// Makes a volume; finds it if it is there as asked for.
    pub(super) async fn create(self, request: CreateRequest) -> Result<FileInfo, WorkerError> {
        let _changing = self.changes.lock().await;
        let directory = self.directory().await?;
        let inventory = self.inventory(&directory).await?;
        let wanted = wanted(&request, &inventory)?;
        if inventory.files.get(&wanted.place).is_some() {
            return found(&wanted, &inventory);
        }
        self.check_space(&directory, None).await?;
        if let Some((below @ Place::Volume(_), format)) = &wanted.backing {
            check_free(&directory, below, *format).await?;
        }
        let staged = stage(&directory).await?;
        let staged = match wanted.format {
            DiskFormat::Raw => {
                let size = wanted.size.bytes();
                blocking(move || {
                    staged.file().set_len(size).map_err(WorkerError::io("set the disk's size")).map(|()| staged)
                })
                .await?
            }
            DiskFormat::Qcow2 => {
                tool::create(&staged, wanted.size, wanted.backing.as_ref()).await?;
                staged
            }
        };
        point("storage-worker.create.formatted")?;
        self.put(&directory, staged, wanted.place, wanted.format).await
    }

    /// Copies a volume with all that lies below it into a new one that stands alone.
    pub(super) async fn copy(self, request: CopyRequest, sink: Sink<Copy>) -> Result<CopyReply, Failure> {
        let percent = AtomicU32::new(0);
        let work = self.copy_file(&request, &percent);
        tokio::pin!(work);
        let mut said = 0;
        let mut pause = tokio::time::interval(PROGRESS_PAUSE);
        loop {
            tokio::select! {
                done = &mut work => return Ok(CopyReply { percent: 100, done: Some(done?) }),
                _ = pause.tick() => {
                    let now = percent.load(Ordering::Relaxed);
                    if now != said {
                        said = now;
                        sink.send(CopyReply { percent: now, done: None }).await?;
                    }
                }
            }
        }
    }

    async fn copy_file(&self, request: &CopyRequest, percent: &AtomicU32) -> Result<FileInfo, WorkerError> {
        let source = inventory::place(&request.source)?;
        let target = Place::Volume(name(&request.target)?);
        let directory = self.directory().await?;
        let (layers, format) = {
            let _changing = self.changes.lock().await;
            let inventory = self.inventory(&directory).await?;
            if inventory.files.get(&target).is_some() {
                return Err(WorkerError::Exists { place: target, difference: "and a copy needs a new name".into() });
            }
            let chain = inventory.files.chain(&source)?;
            self.check_space(&directory, Some(inventory.allocated(&chain))).await?;
            let format = chain.0[0].1;
            check_free(&directory, &source, format).await?;
            (open_layers(&directory, &chain).await?, format)
        };
        let staged = stage(&directory).await?;
        let say = |now| percent.store(now, Ordering::Relaxed);
        tool::convert(layers, &staged, format, self.config.copy_limit(), say).await?;
        point("storage-worker.copy.converted")?;
        let _changing = self.changes.lock().await;
        self.put(&directory, staged, target, format).await
    }

    /// Makes a volume larger.
    pub(super) async fn expand(self, request: ExpandRequest) -> Result<FileInfo, WorkerError> {
        let place = Place::Volume(name(&request.name)?);
        let _changing = self.changes.lock().await;
        let directory = self.directory().await?;
        let inventory = self.inventory(&directory).await?;
        let chain = inventory.files.check_write(&place)?;
        let info = inventory.info(&place)?;
        check_expansion(info.virtual_size_bytes, request.size_bytes)?;
        if info.virtual_size_bytes == request.size_bytes {
            return Ok(info);
        }
        let format = chain.0[0].1;
        let file = open_free(&directory, &place, format).await?;
        let below = open_layers(&directory, &Chain(chain.0[1..].to_vec())).await?;
        enlarge(file, format, below, request.size_bytes, &place).await?;
        point("storage-worker.expand.durable")?;
        self.inventory(&directory).await?.info(&place)
    }

    /// Removes a file that nothing lies above and nobody uses.
    pub(super) async fn remove_file(&self, place: &Place) -> Result<(), WorkerError> {
        let _changing = self.changes.lock().await;
        let directory = self.directory().await?;
        let inventory = self.inventory(&directory).await?;
        let Some(facts) = inventory.files.get(place) else { return Ok(()) };
        inventory.files.check_remove(place)?;
        if facts.problem.is_empty() {
            check_free(&directory, place, facts.format).await?;
        }
        let place = place.clone();
        blocking(move || directory.remove(&place)).await
    }

    /// Opens a volume for writing, and everything below it for reading.
    pub(super) async fn open(self, file: FileRef) -> Result<(OpenReply, Vec<OwnedFd>), WorkerError> {
        let place = inventory::place(&file)?;
        if matches!(place, Place::Image(_)) {
            return Err(WorkerError::Invalid(
                "an image is opened below a volume only: make a linked clone of it".into(),
            ));
        }
        let _changing = self.changes.lock().await;
        let directory = self.directory().await?;
        let inventory = self.inventory(&directory).await?;
        let chain = inventory.files.check_write(&place)?;
        let (top, below) = (chain.0[0].clone(), Chain(chain.0[1..].to_vec()));
        let mut files = vec![OwnedFd::from(open_for_writing(&directory, &top.0, top.1).await?)];
        point("storage-worker.open.marked")?;
        files.extend(open_layers(&directory, &below).await?.into_iter().map(|(file, _)| file));
        let layers = chain.0.iter().enumerate();
        let layers = layers.map(|(depth, (_, format))| Layer { format: *format, writable: depth == 0 }).collect();
        Ok((OpenReply { layers }, files))
    }

    /// Moves a finished file into place. The caller holds the lock on changes.
    pub(super) async fn put(
        &self,
        directory: &Directory,
        staged: Staged,
        place: Place,
        format: DiskFormat,
    ) -> Result<FileInfo, WorkerError> {
        let inventory = self.inventory(directory).await?;
        if inventory.files.get(&place).is_some() {
            return Err(WorkerError::Exists { place, difference: "it came into being meanwhile".into() });
        }
        let target = place.clone();
        blocking(move || staged.put(&target, format)).await?;
        let info = self.look_at(directory, &place).await;
        if info.is_err() {
            // What is said not to be there must not be there.
            let (directory, place) = (directory.clone(), place);
            blocking(move || directory.remove(&place)).await?;
        }
        info
    }

    async fn look_at(&self, directory: &Directory, place: &Place) -> Result<FileInfo, WorkerError> {
        point("storage-worker.put.durable")?;
        self.inventory(directory).await?.info(place)
    }

    /// Refuses new files when the pool has less than its reserve, or less than what is needed on top of it.
    pub(super) async fn check_space(&self, directory: &Directory, needed: Option<ByteSize>) -> Result<(), WorkerError> {
        let directory = directory.clone();
        let space = blocking(move || directory.space()).await?;
        let free = space.free_bytes.saturating_sub(self.config.reserve_bytes);
        if free == 0 || needed.is_some_and(|needed| needed.bytes() > free) {
            return Err(WorkerError::NoSpace { free: ByteSize(free), needed });
        }
        Ok(())
    }
}

/// How often the progress of a long operation is said at most.
pub(super) const PROGRESS_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

pub(super) async fn stage(directory: &Directory) -> Result<Staged, WorkerError> {
    let directory = directory.clone();
    let staged = blocking(move || Staged::new(&directory)).await?;
    point("storage-worker.stage.made")?;
    Ok(staged)
}

fn name(text: &str) -> Result<Name, WorkerError> {
    text.parse().map_err(|error| WorkerError::Invalid(format!("{text:?} is no name of a volume: {error}")))
}

fn wanted(request: &CreateRequest, inventory: &Inventory) -> Result<Wanted, WorkerError> {
    let place = Place::Volume(name(&request.name)?);
    let Some(below) = &request.backing else {
        let size = request.size_bytes.ok_or_else(|| WorkerError::Invalid("an empty volume needs a size".into()))?;
        check_size(size)?;
        return Ok(Wanted { place, format: request.format, size, backing: None });
    };
    if request.format != DiskFormat::Qcow2 {
        return Err(WorkerError::Invalid("a linked clone is always of the format qcow2".into()));
    }
    let below = inventory::place(below)?;
    if below == place {
        return Err(ChainError::Loop(place).into());
    }
    let facts = inventory.files.check_layer_above(&below)?;
    let size = request.size_bytes.unwrap_or(facts.virtual_size);
    check_size(size)?;
    if size < facts.virtual_size {
        let least = facts.virtual_size;
        let text = format!("the disk below has {least}, so the clone cannot have {size}: ask for {least} or more");
        return Err(WorkerError::Invalid(text));
    }
    Ok(Wanted { place, format: request.format, size, backing: Some((below, facts.format)) })
}

/// A volume of that name that exists: the answer if it is the one wanted.
fn found(wanted: &Wanted, inventory: &Inventory) -> Result<FileInfo, WorkerError> {
    let info = inventory.info(&wanted.place)?;
    let backing = wanted.backing.as_ref().map(|(below, _)| below);
    let present = info.backing.as_ref().map(inventory::place).transpose()?;
    let difference = if present.as_ref() != backing {
        "above another image or volume".to_owned()
    } else if info.format != wanted.format {
        "in another format".to_owned()
    } else if info.virtual_size_bytes != wanted.size {
        format!("with a size of {}", info.virtual_size_bytes)
    } else {
        return Ok(info);
    };
    Err(WorkerError::Exists { place: wanted.place.clone(), difference })
}

async fn open_file(
    directory: &Directory,
    place: &Place,
    format: DiskFormat,
    access: OFlags,
) -> Result<File, WorkerError> {
    let (directory, place) = (directory.clone(), place.clone());
    blocking(move || directory.open(&place, format, access).map_err(WorkerError::errno(format!("open {place}")))).await
}

async fn open_layers(directory: &Directory, chain: &Chain) -> Result<Vec<(OwnedFd, DiskFormat)>, WorkerError> {
    let mut layers = Vec::with_capacity(chain.0.len());
    for (place, format) in &chain.0 {
        layers.push((OwnedFd::from(open_file(directory, place, *format, OFlags::RDONLY).await?), *format));
    }
    Ok(layers)
}

async fn open_for_writing(directory: &Directory, place: &Place, format: DiskFormat) -> Result<File, WorkerError> {
    let file = open_file(directory, place, format, OFlags::RDWR).await?;
    if lock::use_for_writing(&file).await? { Ok(file) } else { Err(WorkerError::InUse(place.clone())) }
}

async fn open_free(directory: &Directory, place: &Place, format: DiskFormat) -> Result<File, WorkerError> {
    let file = open_file(directory, place, format, OFlags::RDWR).await?;
    if lock::is_in_use(&file).await? { Err(WorkerError::InUse(place.clone())) } else { Ok(file) }
}

/// Refuses a file that somebody writes to, or that is being copied.
async fn check_free(directory: &Directory, place: &Place, format: DiskFormat) -> Result<(), WorkerError> {
    let file = open_file(directory, place, format, OFlags::RDONLY).await?;
    if lock::is_in_use(&file).await? { Err(WorkerError::InUse(place.clone())) } else { Ok(()) }
}

async fn enlarge(
    file: File,
    format: DiskFormat,
    below: Vec<(OwnedFd, DiskFormat)>,
    size: ByteSize,
    place: &Place,
) -> Result<(), WorkerError> {
    if format == DiskFormat::Raw {
        let grow = move || {
            file.set_len(size.bytes())?;
            point("storage-worker.expand.lengthened")?;
            file.sync_all()
        };
        return blocking(move || grow().map_err(WorkerError::io("enlarge the disk"))).await;
    }
    let copy = file.try_clone().map_err(WorkerError::io("duplicate a descriptor"))?;
    let layers = std::iter::once((copy.into(), format)).chain(below).collect();
    match tool::resize(layers, size).await {
        Ok(()) => {
            point("storage-worker.expand.resized")?;
            blocking(move || file.sync_all().map_err(WorkerError::io("write the disk"))).await
        }
        Err(ResizeError::InUse) => Err(WorkerError::InUse(place.clone())),
        Err(ResizeError::Other(error)) => Err(error),
    }
}
