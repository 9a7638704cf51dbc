//! A cluster service in a directory of its own.

use std::{path::Path, time::Duration};

use acp_base::{Failure, Name};
use acp_cluster::{Cluster, Config};
use acp_dev_nodes::HubStandIn;
use acp_io_client::{Client, Replies, ServiceClient};
use acp_io_daemon::{Context, Daemon, Fatal};
use acp_wire_api::cluster::{self as api, CreateRequest, ListRequest, WriteReply};
use acp_wire_model::{Kind, Object};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// How long anything may take in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A running service with a hub beside it, whose log outlives both.
#[derive(Debug)]
pub(crate) struct Node {
    context: Context,
    ended: oneshot::Receiver<Result<(), Fatal>>,
    hub: RunningHub,
}

/// A hub that answers.
#[derive(Debug)]
pub(crate) struct RunningHub {
    context: Context,
    pub(crate) stand_in: HubStandIn,
}

impl RunningHub {
    /// Answers at the hub's socket in this directory.
    pub(crate) fn start(directory: &Path) -> Self {
        let stand_in = HubStandIn::open(&directory.join("state/hub"));
        let context = Context::for_test("hub", directory, HubStandIn::interfaces());
        context.serve(stand_in.router()).expect("it serves");
        context.ready();
        Self { context, stand_in }
    }

    pub(crate) async fn stop(self) {
        self.context.drain.cancel();
        assert!(self.context.tasks.join(LIMIT).await, "tasks of the hub are left");
    }
}

impl Node {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, Config::default())
    }

    pub(crate) fn start_with(directory: &Path, config: Config) -> Self {
        Self::start_as("test", directory, config)
    }

    /// A node of this name.
    pub(crate) fn start_as(name: &str, directory: &Path, config: Config) -> Self {
        let hub = RunningHub::start(directory);
        let mut context = Context::for_test("cluster", directory, (Cluster::INTERFACES)());
        context.node = valid(name);
        let (sender, ended) = oneshot::channel();
        let run = Cluster::run(config, context.clone());
        context.tasks.spawn("daemon", async move { drop(sender.send(run.await)) });
        Self { context, ended, hub }
    }

    pub(crate) fn hub(&self) -> &HubStandIn {
        &self.hub.stand_in
    }

    /// Ends the service as SIGTERM does and waits for it.
    pub(crate) async fn stop(self) {
        self.context.drain.cancel();
        self.ended.await.expect("it ends").expect("without an error");
        assert!(self.context.tasks.join(LIMIT).await, "tasks are left");
        self.hub.stop().await;
    }

    /// Waits until the service gives up by itself.
    pub(crate) async fn failure(self) -> Fatal {
        let ended = tokio::time::timeout(LIMIT, self.ended).await;
        let fatal = ended.expect("in time").expect("it ends").expect_err("it gives up");
        self.context.drain.cancel();
        assert!(self.context.tasks.join(LIMIT).await, "tasks are left");
        self.hub.stop().await;
        fatal
    }

    pub(crate) fn health(&self) -> String {
        self.context.health.reason()
    }

    pub(crate) fn service(&self) -> ServiceClient {
        self.client().service("cluster").deadline(LIMIT)
    }

    pub(crate) fn client(&self) -> &Client {
        &self.context.client
    }

    pub(crate) async fn create(&self, kind: Kind, name: &str, spec: Value) -> Result<WriteReply, Failure> {
        self.service().call::<api::Create>(CreateRequest { kind, name: valid(name), uid: None, spec }).await
    }

    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Object, Failure> {
        let request = api::GetRequest {
            kind,
            name: Some(name.to_owned()),
            uid: None,
            node: None,
            min_index: None,
            linearizable: false,
            here: None,
        };
        self.service().call::<api::Get>(request).await.map(|reply| reply.object)
    }

    pub(crate) async fn list(&self, request: ListRequest) -> Result<Vec<Object>, Failure> {
        let mut replies = self.service().stream::<api::List>(request).await?;
        let mut objects = Vec::new();
        while let Some(reply) = next(&mut replies).await {
            objects.extend(reply?.objects);
        }
        Ok(objects)
    }

    pub(crate) async fn status(&self) -> api::Status {
        self.service().call::<api::GetStatus>(acp_wire_api::Empty {}).await.expect("status")
    }
}

/// The next reply, within the limit of the tests.
pub(crate) async fn next<M: acp_wire_api::Method>(replies: &mut Replies<M>) -> Option<Result<M::Reply, Failure>> {
    tokio::time::timeout(LIMIT, replies.next()).await.expect("a reply in time")
}

pub(crate) fn valid(name: &str) -> Name {
    name.parse().expect("a test's name is valid")
}

pub(crate) fn system() -> Value {
    json!({"node": "test", "cpus": 1, "memory_bytes": 64 << 20})
}

pub(crate) fn all(kind: Kind) -> ListRequest {
    ListRequest { kind: Some(kind), selectors: vec![], min_index: None, here: None }
}

pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}
