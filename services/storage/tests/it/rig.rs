//! A worker on a temporary directory.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use acp_base::{ByteSize, Failure, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::ServiceClient;
use acp_io_daemon::Context;
use acp_storage::worker::{self, Pool, WorkerConfig};
use acp_wire_api::{Empty, storage::Layer, worker as api};
use acp_wire_model::{Kind, image::DiskFormat};
use tempfile::TempDir;

/// How long anything may take that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A worker that answers, with its pool in a temporary directory.
pub(crate) struct Rig {
    directory: TempDir,
    pub(crate) context: Context,
    pub(crate) pool: Pool,
}

/// A worker configuration that keeps no reserve, for machines with little space.
pub(crate) fn config() -> WorkerConfig {
    WorkerConfig { reserve_bytes: 0, ..WorkerConfig::default() }
}

impl Rig {
    pub(crate) fn start() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: WorkerConfig) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let pool =
            Pool { name: "p".into(), uid: Uid::from_u128(1), path: directory.path().join("pool"), is_prepared: false };
        let context = worker_context(directory.path(), "p");
        worker::serve(config, pool.clone(), &context).expect("serves");
        Self { directory, context, pool }
    }

    /// Ends the worker and starts its successor.
    pub(crate) async fn restart(&mut self, pool: Pool) {
        self.context.drain.cancel();
        assert!(self.context.tasks.join(LIMIT).await, "the worker drains");
        self.context = worker_context(self.directory.path(), "p");
        self.pool = pool.clone();
        worker::serve(config(), pool, &self.context).expect("serves");
    }

    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.pool.path.join(path)
    }

    pub(crate) fn client(&self) -> ServiceClient {
        self.context.client.instance("storage-worker", "p").deadline(LIMIT)
    }

    pub(crate) async fn scan(&self) -> Result<api::ScanReply, Failure> {
        self.client().call::<api::Scan>(Empty {}).await
    }

    pub(crate) async fn info(&self, file: &api::FileRef) -> Option<api::FileInfo> {
        self.scan().await.expect("scans").files.into_iter().find(|info| info.file == *file)
    }

    pub(crate) async fn create(&self, name: &str, size: Option<ByteSize>) -> Result<api::FileInfo, Failure> {
        self.create_as(name, DiskFormat::Qcow2, size, None).await
    }

    pub(crate) async fn create_as(
        &self,
        name: &str,
        format: DiskFormat,
        size_bytes: Option<ByteSize>,
        backing: Option<api::FileRef>,
    ) -> Result<api::FileInfo, Failure> {
        let request = api::CreateRequest { name: name.into(), format, size_bytes, backing };
        self.client().call::<api::Create>(request).await
    }

    pub(crate) async fn expand(&self, name: &str, size_bytes: ByteSize) -> Result<api::FileInfo, Failure> {
        self.client().call::<api::Expand>(api::ExpandRequest { name: name.into(), size_bytes }).await
    }

    pub(crate) async fn remove(&self, file: api::FileRef) -> Result<(), Failure> {
        self.client().call::<api::Remove>(api::FileRequest { file }).await.map(drop)
    }

    pub(crate) async fn open(&self, name: &str) -> Result<(Vec<Layer>, Vec<OwnedFd>), Failure> {
        let request = api::FileRequest { file: volume(name) };
        let (reply, fds) = self.client().call_fds::<api::Open>(request, Vec::new()).await?;
        Ok((reply.layers, fds))
    }

    pub(crate) async fn copy(&self, source: &str, target: &str) -> Result<api::FileInfo, Failure> {
        let request = api::CopyRequest { source: volume(source), target: target.into() };
        let mut replies = self.client().stream::<api::Copy>(request).await?;
        let mut last = None;
        while let Some(reply) = replies.next().await {
            last = reply?.done;
        }
        Ok(last.expect("the last reply has the file"))
    }

    /// Imports an image as the one with this number for its uid.
    pub(crate) async fn import(&self, number: u128, source: Source<'_>) -> Result<api::ImportReply, Failure> {
        self.import_checked(number, source, None).await
    }

    pub(crate) async fn import_checked(
        &self,
        number: u128,
        source: Source<'_>,
        sha256: Option<String>,
    ) -> Result<api::ImportReply, Failure> {
        let (url, fds) = match source {
            Source::File(path) => (None, vec![File::open(path).expect("the source").into()]),
            Source::Url(url) => (Some(url), Vec::new()),
        };
        let request = api::ImportRequest { uid: Uid::from_u128(number), url, sha256 };
        let mut replies = self.client().stream_fds::<api::Import>(request, fds).await?;
        let mut last = None;
        while let Some(reply) = replies.next().await {
            last = Some(reply?);
        }
        Ok(last.expect("a last reply"))
    }

    /// Waits until the names of all files of the pool are as wanted.
    pub(crate) async fn wait_files(&self, what: &str, is_wanted: impl Fn(&Vec<String>) -> bool) {
        wait_for_async(what, LIMIT, async || seen(self.files(), &is_wanted)).await.expect("the worker acts");
    }

    /// The names of all files of the pool, its mark left out.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        for directory in ["images", "staging", "volumes"] {
            for entry in std::fs::read_dir(self.file(directory)).expect("readable") {
                let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
                files.push(format!("{directory}/{name}"));
            }
        }
        files.sort();
        files
    }
}

/// Where an image comes from.
pub(crate) enum Source<'a> {
    File(&'a Path),
    Url(String),
}

/// The context of a worker whose socket is in `run`.
pub(crate) fn worker_context(run: &Path, pool: &str) -> Context {
    let mut context = Context::for_test("storage-worker", run, vec![api::interface()]);
    context.instance = Some(pool.to_owned());
    std::fs::create_dir_all(run.join("storage-worker")).expect("a directory for sockets");
    context
}

pub(crate) fn volume(name: &str) -> api::FileRef {
    api::FileRef { kind: Kind::Volume, name: name.into() }
}

pub(crate) fn image(number: u128) -> api::FileRef {
    api::FileRef { kind: Kind::Image, name: Uid::from_u128(number).to_string() }
}

/// The path of an image's file below its pool.
pub(crate) fn image_path(number: u128, ending: &str) -> String {
    format!("images/{}.{ending}", Uid::from_u128(number).simple())
}

/// Runs a tool and answers its output.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect(program);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A qcow2 image of 4 MiB, all of it written.
pub(crate) fn make_image(path: &Path) {
    let path = path.to_str().expect("a path in UTF-8");
    run("qemu-img", &["create", "-q", "-f", "qcow2", path, "4M"]);
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 7 0 4M", path]);
}
