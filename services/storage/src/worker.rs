//! The worker: one pool's process, in which every file operation of the pool happens.
//!
//! A hung file system hangs this process and nothing else; the daemon notices by its deadline and replaces the process.
//! Deliberately not here: what is declared, who uses what, jobs (the daemon's).
//!
//! **Invariants**: every path is opened beneath the pool's directory without following links
//! (`directory`); a file appears in `images/` or `volumes/` whole and durable or not at all
//! (`staged`); `qemu-img` never resolves a name of the pool, it is given descriptors.
//!
//! Driven by the storage daemon, which alone may call it.

mod config;
mod directory;
mod download;
mod error;
mod import;
mod inventory;
mod lock;
mod retrieve;
mod staged;
mod tool;
mod volume;

use std::{path::PathBuf, sync::Arc};

use acp_base::{Failure, Uid};
use acp_io_daemon::{Context, Daemon, Fatal, Router};
use acp_wire_api::{Empty, Interface, worker as api};

pub use config::WorkerConfig;
pub use error::WorkerError;

use directory::Directory;
use inventory::Inventory;

/// The worker as a daemon on the chassis.
#[derive(Clone, Copy, Debug)]
pub struct StorageWorker;

impl Daemon for StorageWorker {
    const NOUN: &'static str = "storage-worker";
    const INTERFACES: fn() -> Vec<Interface> = || vec![api::interface()];
    type Config = WorkerConfig;

    async fn run(config: WorkerConfig, context: Context) -> Result<(), Fatal> {
        let pool = Pool::from_environment(context.instance.as_deref())?;
        tracing::info!(pool = pool.name, path = %pool.path.display(), "worker starts");
        serve(config, pool, &context)?;
        context.ready();
        context.drain.cancelled().await;
        Ok(())
    }
}

/// Which pool a worker works on, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The pool's name, for messages.
    pub name: String,
    /// The pool's identity, which its directory is marked with.
    pub uid: Uid,
    /// Its directory.
    pub path: PathBuf,
    /// Whether the directory was marked before: then a missing mark means that its file system is not mounted.
    pub is_prepared: bool,
}

impl Pool {
    /// Environment variable with the pool's directory.
    pub const PATH: &'static str = "ACP_POOL_PATH";
    /// Environment variable with the pool's identity.
    pub const UID: &'static str = "ACP_POOL_UID";
    /// Environment variable that is `1` once the directory was marked.
    pub const PREPARED: &'static str = "ACP_POOL_PREPARED";

    fn from_environment(instance: Option<&str>) -> Result<Self, Fatal> {
        let read = |key| std::env::var(key).map_err(|error| Fatal::config(format!("{key}: {error}")));
        let name = instance.ok_or_else(|| Fatal::config("a storage worker needs ACP_INSTANCE, its pool's name"))?;
        let path = read(Self::PATH)?;
        acp_core_storeplan::check_path(&path).map_err(|error| Fatal::config(format!("{}: {error}", Self::PATH)))?;
        let uid = read(Self::UID)?.parse().map_err(|error| Fatal::config(format!("{}: {error}", Self::UID)))?;
        let is_prepared = std::env::var(Self::PREPARED).is_ok_and(|value| value == "1");
        Ok(Self { name: name.to_owned(), uid, path: path.into(), is_prepared })
    }
}

/// Answers the worker's interface for a pool. Returns at once; the answers end with the context's drain.
pub fn serve(config: WorkerConfig, pool: Pool, context: &Context) -> Result<(), Fatal> {
    let worker = Worker::new(config, pool);
    context.serve(worker.routes()).map(drop)
}

/// What every operation of a worker shares.
#[derive(Clone, Debug)]
struct Worker {
    config: Arc<WorkerConfig>,
    pool: Arc<directory::Root>,
    /// Held from the look at the pool to the change that rests on it, so that two calls never both find a name free.
    changes: Arc<tokio::sync::Mutex<()>>,
}

impl Worker {
    fn new(config: WorkerConfig, pool: Pool) -> Self {
        let pool = Arc::new(directory::Root::new(pool));
        Self { config: Arc::new(config), pool, changes: Arc::default() }
    }

    fn routes(&self) -> Router {
        let mut router = Router::new();
        let own = self.clone();
        router.once::<api::Scan, _, _>(move |_call| answer(own.clone().scan()));
        let own = self.clone();
        router.once::<api::Create, _, _>(move |call| answer(own.clone().create(call.request)));
        let own = self.clone();
        router.stream::<api::Copy, _, _>(move |call, sink| own.clone().copy(call.request, sink));
        let own = self.clone();
        router.once::<api::Expand, _, _>(move |call| answer(own.clone().expand(call.request)));
        let own = self.clone();
        router.once::<api::Remove, _, _>(move |call| answer(own.clone().remove(call.request.file)));
        let own = self.clone();
        router.once_fds::<api::Open, _, _>(move |call| answer(own.clone().open(call.request.file)));
        let own = self.clone();
        router.stream::<api::Import, _, _>(move |call, sink| own.clone().import(call.request, call.fds, sink));
        router
    }

    /// The pool's directory, prepared and checked.
    async fn directory(&self) -> Result<Directory, WorkerError> {
        let pool = Arc::clone(&self.pool);
        blocking(move || pool.open()).await
    }

    /// Everything in the pool.
    async fn inventory(&self, directory: &Directory) -> Result<Inventory, WorkerError> {
        let directory = directory.clone();
        blocking(move || Inventory::read(&directory)).await
    }

    async fn scan(self) -> Result<api::ScanReply, WorkerError> {
        let directory = self.directory().await?;
        let inventory = self.inventory(&directory).await?;
        let space = directory.clone();
        let space = blocking(move || space.space()).await?;
        let (volumes, images) = inventory.counts();
        let stats = acp_wire_model::pool::PoolStats {
            capacity_bytes: space.capacity_bytes,
            free_bytes: space.free_bytes.saturating_sub(self.config.reserve_bytes),
            volumes,
            images,
        };
        Ok(api::ScanReply { path: self.pool.path(), stats, files: inventory.infos() })
    }

    async fn remove(self, file: api::FileRef) -> Result<Empty, WorkerError> {
        self.remove_file(&inventory::place(&file)?).await.map(|()| Empty {})
    }
}

async fn answer<T>(work: impl Future<Output = Result<T, WorkerError>>) -> Result<T, Failure> {
    work.await.map_err(Failure::from)
}

/// Does blocking work on a thread of its own.
async fn blocking<T, F>(work: F) -> Result<T, WorkerError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, WorkerError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(WorkerError::Defect(error.to_string())),
    }
}
