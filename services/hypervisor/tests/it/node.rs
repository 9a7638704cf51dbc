//! A hypervisor among its fakes, which can die and come back.

use acp_base::{Failure, Name, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_hypervisor::{AcceleratorChoice, Config, Hypervisor};
use acp_io_client::Client;
use acp_io_daemon::{Context, Daemon};
use acp_wire_api::{
    Empty, Method,
    hypervisor::{CreateSystem, CreateSystemReply, CreateSystemRequest, GetNode, SystemRequest},
    jobs::{self, JobRequest, Started},
};
use acp_wire_model::{
    job::{Job, JobState},
    system::{SystemMeta, SystemState},
};

use crate::{LIMIT, fakes::World};

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) client: Client,
    directory: tempfile::TempDir,
    context: Option<Context>,
}

pub(crate) fn name() -> Name {
    "demo".parse().expect("a name")
}

pub(crate) fn request() -> SystemRequest {
    SystemRequest { name: name() }
}

pub(crate) fn create_request() -> CreateSystemRequest {
    CreateSystemRequest {
        name: name(),
        image: Some("base".parse().expect("a name")),
        cpus: None,
        memory_bytes: None,
        disk_bytes: None,
        pool: None,
        networks: vec!["default".parse().expect("a name")],
        autostart: false,
        floating: false,
    }
}

impl Node {
    /// A node whose hypervisor knows nothing yet.
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let world = World::start(directory.path());
        let client = Client::new(directory.path());
        let mut node = Self { world, client, directory, context: None };
        node.revive().await;
        node
    }

    /// The hypervisor begins a new life and is ready.
    pub(crate) async fn revive(&mut self) {
        let context = Context::for_test("hypervisor", self.directory.path(), Hypervisor::INTERFACES());
        std::fs::create_dir_all(&context.paths.state).expect("a writable directory");
        let config = Config { accelerator: AcceleratorChoice::Tcg, ..Config::default() };
        let running = context.clone();
        context.tasks.spawn("hypervisor", async move {
            Hypervisor::run(config, running).await.expect("it runs until it is told to end");
        });
        self.wait_until("it is ready", || context.health.is_announced()).await;
        self.context = Some(context);
    }

    /// It ends wherever it is. The drain writes nothing, so what is on disk is what a kill leaves there.
    pub(crate) async fn die(&mut self) {
        let context = self.context.take().expect("it lives");
        context.drain.cancel();
        assert!(context.tasks.join(LIMIT).await, "it does not end: {} tasks", context.tasks.count());
    }

    /// It is told to end, and goes on with what it has begun.
    pub(crate) fn end_soon(&self) {
        self.context.as_ref().expect("it lives").drain.cancel();
    }

    /// What it does without.
    pub(crate) fn reason(&self) -> String {
        self.context.as_ref().expect("it lives").health.reason()
    }

    /// Whether anything is kept of a system.
    pub(crate) fn has_record(&self, instance: &str) -> bool {
        let uid: Uid = instance.parse().expect("a uid");
        self.directory.path().join(format!("state/hypervisor/systems/{uid}.json")).exists()
    }

    pub(crate) async fn call<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        self.client.service("hypervisor").deadline(LIMIT).call::<M>(request).await
    }

    pub(crate) async fn call_create(&self, request: CreateSystemRequest) -> Result<CreateSystemReply, Failure> {
        self.call::<CreateSystem>(request).await
    }

    pub(crate) async fn try_create(&self) -> Result<Uid, Failure> {
        let reply = self.call_create(create_request()).await?;
        self.wait_for_job(reply.job).await.map(|()| reply.uid)
    }

    pub(crate) async fn create(&self) -> Uid {
        self.try_create().await.expect("it can be created")
    }

    /// Calls a method that starts a job, and waits for the job's end.
    pub(crate) async fn run_job<M: Method<Reply = Started>>(&self, request: M::Request) -> Result<(), Failure> {
        let started = self.call::<M>(request).await?;
        self.wait_for_job(started.job.expect("there is something to do")).await
    }

    pub(crate) async fn job(&self, id: Uid) -> Job {
        self.call::<jobs::Get>(JobRequest { id }).await.expect("a known job").job
    }

    pub(crate) async fn cancel(&self, id: Uid) {
        self.call::<jobs::Cancel>(JobRequest { id }).await.expect("it can be cancelled");
    }

    pub(crate) async fn wait_for_job(&self, id: Uid) -> Result<(), Failure> {
        let mut replies = self.client.service("hypervisor").stream::<jobs::Watch>(JobRequest { id }).await?;
        let last = async {
            let mut last = None;
            while let Some(reply) = replies.next().await {
                last = Some(reply?.job);
            }
            Ok::<_, Failure>(last.expect("a job is said at least once"))
        };
        let job = tokio::time::timeout(LIMIT, last).await;
        let job = match job {
            Ok(job) => job?,
            Err(_elapsed) => {
                panic!("the job does not end: {:?}, calls: {:?}", self.job(id).await, self.world.lock().calls)
            }
        };
        match (job.state, job.error) {
            (JobState::Succeeded, None) => Ok(()),
            (_, Some(error)) => Err(error.to_failure()),
            (state, None) => panic!("a job ended {state:?} without an error"),
        }
    }

    /// Waits until the system is published in this state, no job at work.
    pub(crate) async fn wait_for_state(&self, uid: Uid, state: SystemState) -> SystemMeta {
        self.wait_for_meta(uid, |meta| meta.state == state && meta.job.is_none()).await
    }

    /// Waits until what is published of the system is as wanted.
    pub(crate) async fn wait_for_meta(&self, uid: Uid, wanted: impl Fn(&SystemMeta) -> bool) -> SystemMeta {
        let meta = || -> Option<SystemMeta> {
            let value = self.world.lock().metas.get(&uid).cloned()?;
            Some(serde_json::from_value(value).expect("a meta reads as one"))
        };
        self.wait_until("what is published of the system", || meta().is_some_and(|meta| wanted(&meta))).await;
        meta().expect("it was there")
    }

    pub(crate) async fn wait_for_accelerator(&self) {
        let accelerator = async || self.call::<GetNode>(Empty {}).await.expect("an answer").meta.accelerator;
        let look = async || seen(accelerator().await, |name| !name.is_empty());
        wait_for_async("an accelerator", LIMIT, look).await.expect("it is decided");
    }

    pub(crate) async fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        self.wait_until(what, || condition(self)).await;
    }

    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn() -> bool) {
        let look = async || condition().then_some(()).ok_or_else(|| format!("{:#?}", self.world.lock()));
        wait_for_async(what, LIMIT, look).await.expect("it comes true");
    }
}
