//! The daemon with real workers and fake peers.

use std::{
    fs::{self, File},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use acp_base::{ByteSize, Code, Failure, Name, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::ServiceClient;
use acp_io_daemon::{Context, Daemon};
use acp_storage::{Config, Storage};
use acp_wire_api::{jobs, storage as api};
use acp_wire_model::{
    Kind,
    job::{Job, JobState},
};
use tempfile::TempDir;

use crate::{
    download,
    fakes::{Cluster, Framework, Metas},
    rig::{LIMIT, make_image},
};

struct Node {
    directory: TempDir,
    cluster: Cluster,
    framework: Framework,
    storage: Context,
    _peers: Vec<Context>,
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

impl Node {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (cluster, one) = Cluster::start(directory.path());
        let (framework, other) = Framework::start(directory.path());
        let storage = start_storage(&directory);
        Self { directory, cluster, framework, storage, _peers: vec![one, other] }
    }

    /// With a pool `default` that is ready.
    async fn with_pool() -> Self {
        let node = Self::start();
        node.create_pool("default", None).await.expect("made");
        node
    }

    /// Ends the daemon and starts its successor.
    async fn restart(&mut self) {
        self.storage.drain.cancel();
        assert!(self.storage.tasks.join(LIMIT).await, "the daemon drains");
        self.storage = start_storage(&self.directory);
    }

    fn client(&self) -> ServiceClient {
        self.storage.client.service("storage").deadline(LIMIT)
    }

    fn pool_file(&self, path: &str) -> PathBuf {
        self.directory.path().join("state/storage/pools/default").join(path)
    }

    async fn create_pool(&self, pool: &str, path: Option<String>) -> Result<(), Failure> {
        self.client().call::<api::CreatePool>(api::CreatePoolRequest { name: name(pool), path }).await.map(drop)
    }

    async fn create_volume(&self, volume: &str, image: Option<&str>) -> Result<api::VolumeReply, Failure> {
        let request = api::CreateVolumeRequest {
            pool: name("default"),
            volume: name(volume),
            size_bytes: Some(ByteSize::mib(8)),
            image: image.map(name),
            format: None,
        };
        self.client().call::<api::CreateVolume>(request).await
    }

    async fn delete_volume(&self, volume: &str, if_exists: bool) -> Result<(), Failure> {
        let request = api::DeleteVolumeRequest { pool: name("default"), volume: name(volume), if_exists };
        self.client().call::<api::DeleteVolume>(request).await.map(drop)
    }

    async fn import(&self, image: &str, url: Option<String>) -> Result<Uid, Failure> {
        let fds: Vec<OwnedFd> = match url {
            Some(_) => Vec::new(),
            None => vec![File::open(self.source()).expect("there").into()],
        };
        self.import_fds(image, url, fds).await
    }

    async fn import_fds(&self, image: &str, url: Option<String>, fds: Vec<OwnedFd>) -> Result<Uid, Failure> {
        let request = api::ImportImageRequest { name: name(image), pool: None, url, source: None, sha256: None };
        let (started, _) = self.client().call_fds::<api::ImportImage>(request, fds).await?;
        Ok(started.job.expect("a job"))
    }

    fn source(&self) -> PathBuf {
        let source = self.directory.path().join("source.qcow2");
        if !source.exists() {
            make_image(&source);
        }
        source
    }

    async fn delete_image(&self, image: &str) -> Result<(), Failure> {
        self.client().call::<api::DeleteImage>(api::ImageRequest { name: name(image) }).await.map(drop)
    }

    async fn end_of(&self, id: Uid) -> Job {
        let look = async || {
            let reply = self.client().call::<jobs::Get>(jobs::JobRequest { id }).await;
            seen(reply, |reply| reply.as_ref().is_ok_and(|reply| reply.job.state.is_final()))
        };
        let reply = wait_for_async("the job's end", LIMIT, look).await.expect("it ends");
        reply.expect("it is known").job
    }

    /// Waits until what is published of a kind is as wanted, and answers it.
    async fn wait_metas(&self, kind: Kind, is_wanted: impl Fn(&Metas) -> bool) -> Metas {
        let look = async || seen(self.cluster.metas(kind), &is_wanted);
        wait_for_async(&format!("every {kind} as published"), LIMIT, look).await.expect("it comes to be as wanted")
    }

    /// Waits until this many files are in staging.
    async fn wait_staged(&self, count: usize) {
        let staged = || fs::read_dir(self.pool_file("staging")).expect("readable").count();
        let look = async || seen(staged(), |staged| *staged == count);
        wait_for_async("the files in staging", LIMIT, look).await.expect("they come and go");
    }

    async fn pool_state(&self, pool: &str, state: &str) -> String {
        let metas =
            self.wait_metas(Kind::Pool, |metas| metas.get(pool).is_some_and(|meta| meta["state"] == state)).await;
        metas[pool]["reason"].as_str().unwrap_or_default().to_owned()
    }
}

fn start_storage(directory: &TempDir) -> Context {
    let context = Context::for_test("storage", directory.path(), Storage::INTERFACES());
    let config = Config { scan_limit_s: 1, retry_pause_s: 1, ..Config::default() };
    acp_storage::start(config, &context).expect("starts");
    context
}

#[tokio::test]
async fn a_pool_is_declared_when_it_is_ready_and_not_otherwise() {
    let node = Node::start();
    node.create_pool("default", None).await.expect("made");
    node.pool_state("default", "ready").await;
    assert!(node.pool_file(".acp-pool").exists());
    assert_eq!(node.create_pool("default", None).await.expect_err("exists").code, Code::AlreadyExists);
    fs::write(node.directory.path().join("file"), "x").expect("written");
    let below_a_file = node.directory.path().join("file/pool").display().to_string();
    let failure = node.create_pool("bad", Some(below_a_file)).await.expect_err("cannot be made");
    assert_eq!(failure.code, Code::FailedPrecondition, "{failure}");
    let failure = node.create_pool("bad", Some("relative".into())).await.expect_err("relative");
    assert_eq!(failure.code, Code::InvalidArgument, "{failure}");
    let inside = node.pool_file("images").display().to_string();
    let failure = node.create_pool("bad", Some(inside)).await.expect_err("inside another");
    assert!(failure.message.contains("overlaps with that of pool default"), "{failure}");
    assert_eq!(node.cluster.names(Kind::Pool), ["default"]);
    fs::remove_file(node.directory.path().join("file")).expect("mended");
    let mended = node.directory.path().join("file/pool").display().to_string();
    node.create_pool("bad", Some(mended)).await.expect("made at the second attempt");
}

#[tokio::test]
async fn volumes_are_published_as_they_come_and_go() {
    let node = Node::with_pool().await;
    node.create_volume("a", None).await.expect("made");
    let published = node.wait_metas(Kind::Volume, |metas| metas.contains_key("default/a")).await;
    assert_eq!(published["default/a"]["size_bytes"], 8 << 20);
    assert_eq!(node.create_volume("a", None).await.expect("found").size_bytes, ByteSize::mib(8));
    let unknown = node.delete_volume("b", false).await.expect_err("none");
    assert_eq!(unknown.code, Code::NotFound);
    node.delete_volume("b", true).await.expect("its absence is no error");
    let disk = serde_json::json!([{ "pool": "default", "volume": "a", "size_bytes": 8 << 20 }]);
    let spec = serde_json::json!({ "node": "test", "cpus": 1, "memory_bytes": 64 << 20, "disks": disk });
    node.cluster.declare(Kind::System, "web", spec);
    let used = node.delete_volume("a", false).await.expect_err("used");
    assert_eq!(used.message, "the volume default/a is a disk of system web: delete that first");
    node.create_volume("b", None).await.expect("made");
    node.delete_volume("b", false).await.expect("unused");
    node.wait_metas(Kind::Volume, |metas| metas.keys().eq(["default/a"])).await;
}

#[tokio::test]
async fn a_volume_is_opened_cloned_and_enlarged() {
    let node = Node::with_pool().await;
    node.create_volume("a", None).await.expect("made");
    let clone = |target: &str, linked| api::CloneVolumeRequest {
        pool: name("default"),
        volume: name("a"),
        target: name(target),
        linked,
    };
    let started = node.client().call::<api::CloneVolume>(clone("full", false)).await.expect("started");
    assert_eq!(node.end_of(started.job.expect("a job")).await.state, JobState::Succeeded);
    let started = node.client().call::<api::CloneVolume>(clone("linked", true)).await.expect("made");
    assert_eq!(started.job, None);
    let again = node.client().call::<api::CloneVolume>(clone("full", false)).await.expect_err("exists");
    assert_eq!(again.code, Code::AlreadyExists);
    let open = |volume: &str| {
        let request = api::VolumeRequest { pool: name("default"), volume: name(volume) };
        let client = node.client();
        async move { client.call_fds::<api::OpenVolume>(request, Vec::new()).await }
    };
    let (reply, fds) = open("linked").await.expect("opened");
    assert_eq!((reply.layers.len(), fds.len()), (2, 2));
    assert_eq!(open("a").await.expect_err("lies below").code, Code::FailedPrecondition);
    let size_bytes = ByteSize::mib(16);
    let expand = api::ExpandVolumeRequest { pool: name("default"), volume: name("full"), size_bytes };
    assert_eq!(node.client().call::<api::ExpandVolume>(expand).await.expect("grown").size_bytes, size_bytes);
    let is_said = |metas: &Metas| metas.get("default/linked").is_some_and(|meta| meta["backing"]["name"] == "a");
    node.wait_metas(Kind::Volume, is_said).await;
}

#[tokio::test]
async fn an_image_is_imported_used_and_deleted() {
    let node = Node::with_pool().await;
    let job = node.import("debian", None).await.expect("started");
    let job = node.end_of(job).await;
    assert_eq!((job.state, job.verb.as_str()), (JobState::Succeeded, "image-import"));
    let image = node.cluster.object(Kind::Image, "debian").expect("declared");
    assert_eq!((&image.spec["format"], &image.spec["virtual_size_bytes"]), (&"qcow2".into(), &(4 << 20).into()));
    let is_present = |metas: &Metas| metas.get("debian").is_some_and(|meta| meta["present"] == true);
    node.wait_metas(Kind::Image, is_present).await;
    assert_eq!(node.import("debian", None).await.expect_err("exists").code, Code::AlreadyExists);
    node.create_volume("disk", Some("debian")).await.expect("made");
    let used = node.delete_image("debian").await.expect_err("used");
    assert_eq!(used.message, "the image debian is the base of default/disk: delete it first");
    node.delete_volume("disk", false).await.expect("deleted");
    node.delete_image("debian").await.expect("deleted");
    assert_eq!(node.cluster.names(Kind::Image), Vec::<String>::new());
    assert_eq!(fs::read_dir(node.pool_file("images")).expect("readable").count(), 0);
    assert_eq!(node.delete_image("debian").await.expect_err("none").code, Code::NotFound);
    assert_eq!(node.create_volume("x", Some("debian")).await.expect_err("none").code, Code::NotFound);
}

#[tokio::test]
async fn pools_and_images_of_another_node_are_not_ours_whatever_they_are_called() {
    let node = Node::start();
    let pool = serde_json::json!({"driver": "directory", "node": "elsewhere"});
    node.cluster.declare(Kind::Pool, "default", pool);
    let image = serde_json::json!({
        "node": "elsewhere", "pool": "default", "format": "qcow2", "size_bytes": 1, "virtual_size_bytes": 1, "sha256": "",
    });
    let theirs = node.cluster.declare(Kind::Image, "debian", image);
    node.create_pool("default", None).await.expect("names are each node's own");
    assert_eq!(node.create_volume("x", Some("debian")).await.expect_err("theirs").code, Code::NotFound);
    assert_eq!(node.delete_image("debian").await.expect_err("theirs").code, Code::NotFound);

    let job = node.import("debian", None).await.expect("started");
    assert_eq!(node.end_of(job).await.state, JobState::Succeeded);
    node.create_volume("disk", Some("debian")).await.expect("made from ours");
    node.delete_volume("disk", false).await.expect("deleted");
    node.delete_image("debian").await.expect("ours is deleted");
    let left = node.cluster.object(Kind::Image, "debian").expect("theirs stays");
    assert_eq!((left.uid, &left.spec["node"]), (theirs, &"elsewhere".into()));
    assert!(!node.cluster.metas(Kind::Image).contains_key("debian"), "nothing is said of theirs");
}

#[tokio::test]
async fn the_file_of_a_deleted_image_goes_as_soon_as_it_can() {
    let node = Node::with_pool().await;
    let image = Uid::from_u128(7);
    let file = node.pool_file(&format!("images/{}.qcow2", image.simple()));
    let plan = node.directory.path().join("state/storage/removals").join(image.to_string());
    make_image(&file);
    // As a deletion leaves it whose worker was away.
    fs::write(&plan, "default").expect("written");
    let look = async || seen((file.exists(), plan.exists()), |found| *found == (false, false));
    wait_for_async("the end of file and plan", LIMIT, look).await.expect("without a restart");
}

#[tokio::test]
async fn a_failed_import_declares_nothing_and_leaves_nothing() {
    let node = Node::with_pool().await;
    let garbage = node.directory.path().join("garbage");
    fs::write(&garbage, "not an image").expect("written");
    let id = node.import_fds("bad", None, vec![File::open(&garbage).expect("there").into()]).await.expect("started");
    let job = node.end_of(id).await;
    assert_eq!(job.state, JobState::Failed);
    let message = job.error.expect("a reason").message;
    assert_eq!(
        message,
        "pool default: the file is no disk image that can be used: it is a text; choose the disk image itself"
    );
    for (url, fds) in [(None, 0), (Some("http://h/x"), 1), (None, 2), (Some("ftp://h/x"), 0)] {
        let fds = (0..fds).map(|_| File::open(&garbage).expect("there").into()).collect();
        let refused = node.import_fds("bad", url.map(str::to_owned), fds).await.expect_err("refused");
        assert_eq!(refused.code, Code::InvalidArgument, "{refused}");
    }
    assert_eq!(node.cluster.names(Kind::Image), Vec::<String>::new());
    assert_eq!(fs::read_dir(node.pool_file("images")).expect("readable").count(), 0);
    assert_eq!(fs::read_dir(node.pool_file("staging")).expect("readable").count(), 0);
}

#[tokio::test]
async fn a_hung_worker_turns_its_pool_red_and_is_replaced() {
    let node = Node::with_pool().await;
    node.create_pool("other", None).await.expect("made");
    node.create_volume("a", None).await.expect("made");
    node.framework.hang("default");
    let client = node.client();
    let request = api::CreateVolumeRequest {
        pool: name("other"),
        volume: name("b"),
        size_bytes: Some(ByteSize::mib(1)),
        image: None,
        format: None,
    };
    let volume = api::VolumeRequest { pool: name("default"), volume: name("a") };
    let hung = client.clone().deadline(std::time::Duration::from_secs(1));
    let (hung, other) =
        tokio::join!(hung.call_fds::<api::OpenVolume>(volume, Vec::new()), client.call::<api::CreateVolume>(request));
    other.expect("the other pool goes on");
    assert_eq!(hung.expect_err("hangs").code, Code::DeadlineExceeded);
    // The caller gave up before the daemon's own deadline; that alone has the pool looked at.
    let reason = node.pool_state("default", "failed").await;
    assert!(reason.starts_with("its worker did not answer within 1 s"), "{reason}");
    assert_eq!(node.cluster.metas(Kind::Pool)["other"]["state"], "ready");
    node.pool_state("default", "ready").await;
    assert_eq!(node.framework.spawned("default"), 2);
    assert_eq!(node.framework.spawned("other"), 1);
    assert_eq!(node.create_volume("a", None).await.expect("found again").size_bytes, ByteSize::mib(8));
}

#[tokio::test]
async fn an_interrupted_download_is_taken_up_again() {
    let mut node = Node::with_pool().await;
    let body = fs::read(node.source()).expect("there");
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let port = download::server(move |_path| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            // The first request is not answered before the daemon was restarted.
            assert!(held.lock().expect("one thread").recv().is_err(), "the other end is dropped");
        }
        download::ok(&body)
    })
    .await;
    let id = node.import("far", Some(format!("http://127.0.0.1:{port}/image"))).await.expect("started");
    let look = async || seen(asked.load(Ordering::SeqCst), |count| *count > 0);
    wait_for_async("the request", LIMIT, look).await.expect("the image is asked for");
    node.restart().await;
    drop(hold);
    let job = node.end_of(id).await;
    assert_eq!(job.state, JobState::Succeeded, "{job:?}");
    assert!(node.cluster.object(Kind::Image, "far").is_some());
    assert_eq!(fs::read_dir(node.pool_file("staging")).expect("readable").count(), 0);
    assert_eq!(fs::read_dir(node.pool_file("images")).expect("readable").count(), 1);
}

#[tokio::test]
async fn an_interrupted_import_from_a_descriptor_is_undone() {
    let mut node = Node::with_pool().await;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let id = node.import_fds("near", None, vec![reader.into()]).await.expect("started");
    node.wait_staged(1).await;
    node.restart().await;
    let job = node.end_of(id).await;
    assert_eq!(job.state, JobState::Failed);
    let message = job.error.expect("a reason").message;
    assert!(message.ends_with("nothing of it is left: import the image again"), "{message}");
    drop(writer);
    node.wait_staged(0).await;
    assert_eq!(fs::read_dir(node.pool_file("images")).expect("readable").count(), 0);
    assert!(node.cluster.object(Kind::Image, "near").is_none());
}

#[tokio::test]
async fn a_cancelled_import_leaves_nothing() {
    let node = Node::with_pool().await;
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let id = node.import_fds("near", None, vec![reader.into()]).await.expect("started");
    node.client().call::<jobs::Cancel>(jobs::JobRequest { id }).await.expect("cancelled");
    assert_eq!(node.end_of(id).await.state, JobState::Cancelled);
    drop(writer);
    node.wait_staged(0).await;
}

#[tokio::test]
async fn a_restarted_daemon_finds_everything_again() {
    let mut node = Node::with_pool().await;
    node.create_volume("a", None).await.expect("made");
    node.wait_metas(Kind::Volume, |metas| metas.contains_key("default/a")).await;
    node.restart().await;
    assert_eq!(node.create_volume("a", None).await.expect("found").size_bytes, ByteSize::mib(8));
    node.pool_state("default", "ready").await;
    assert_eq!(node.framework.spawned("default"), 1, "the worker went on");
    assert_eq!(node.cluster.metas(Kind::Volume).len(), 1);
}

#[tokio::test]
async fn a_removed_pool_is_forgotten() {
    let node = Node::with_pool().await;
    let spec = serde_json::json!({ "driver": "directory", "node": "elsewhere" });
    node.cluster.declare(Kind::Pool, "far", spec);
    node.create_volume("a", None).await.expect("made");
    let far = api::VolumeRequest { pool: name("far"), volume: name("a") };
    let failure = node.client().call_fds::<api::OpenVolume>(far, Vec::new()).await.expect_err("another node's");
    assert_eq!(failure.message, "there is no pool far on node test: `acpctl pool create far` makes one");
    let uid = node.cluster.object(Kind::Pool, "default").expect("declared").uid;
    let delete = acp_wire_api::cluster::DeleteRequest { kind: Kind::Pool, uid };
    node.storage.client.service("cluster").call::<acp_wire_api::cluster::Delete>(delete).await.expect("deleted");
    node.wait_metas(Kind::Pool, Metas::is_empty).await;
    node.wait_metas(Kind::Volume, Metas::is_empty).await;
    assert_eq!(node.create_volume("a", None).await.expect_err("no pool").code, Code::NotFound);
}
