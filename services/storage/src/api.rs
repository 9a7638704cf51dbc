//! What handlers and jobs work with: the view, the workers, the cluster service.

use std::time::Duration;

use acp_base::{Code, Failure, Name, Uid};
use acp_io_client::{Client, ServiceClient, find_declared};
use acp_io_daemon::{CallContext, Context};
use acp_io_jobs::Jobs;
use acp_wire_api::{
    cluster::{Get, GetRequest},
    worker::FileRef,
};
use acp_wire_model::{Kind, Object, image::ImageSpec};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::{
    Config,
    keeper::{KeeperHandle, TEMPLATE},
    persist::Records,
    view::{PoolView, Status, View},
};

/// How long a call waits for a pool that has not been looked at yet.
const STARTING_LIMIT: Duration = Duration::from_secs(10);

/// Everything a handler or a job needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) config: Config,
    pub(crate) context: Context,
    pub(crate) jobs: Jobs,
    pub(crate) records: Records,
    client: Client,
    view: watch::Receiver<View>,
}

impl Api {
    pub(crate) fn new(
        config: Config,
        context: Context,
        jobs: Jobs,
        records: Records,
        view: watch::Receiver<View>,
    ) -> Self {
        let client = context.client.clone();
        Self { config, context, jobs, records, client, view }
    }

    /// The same with calls that carry the id of the call being answered.
    pub(crate) fn for_call(&self, call: &CallContext) -> Self {
        Self { client: self.client.with_request_id(&call.id), ..self.clone() }
    }

    /// What is known now.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// What is known once the specs were read.
    pub(crate) async fn synced_view(&self) -> Result<View, Failure> {
        let found = self.wait_for(STARTING_LIMIT, |view| view.is_synced).await;
        found.ok_or_else(|| Failure::unavailable("the pools are not known yet: the cluster service does not answer"))
    }

    /// Waits until the view is as wanted, at most this long.
    pub(crate) async fn wait_for(&self, limit: Duration, is_so: impl Fn(&View) -> bool) -> Option<View> {
        let mut view = self.view.clone();
        let found = timeout_at(Instant::now() + limit, view.wait_for(|view| is_so(view))).await;
        found.ok()?.ok().map(|view| view.clone())
    }

    /// A pool of this node, looked at at least once, whether it works or not.
    pub(crate) async fn pool(&self, name: &Name) -> Result<PoolView, Failure> {
        self.synced_view().await?;
        let is_known = |view: &View| view.pools.get(name).is_none_or(|pool| !matches!(pool.status, Status::Starting));
        let view = self.wait_for(STARTING_LIMIT, is_known).await;
        let view = view.ok_or_else(|| Failure::unavailable(format!("the pool {name} is still starting: try again")))?;
        view.pools.get(name).cloned().ok_or_else(|| self.no_pool(name))
    }

    /// A pool of this node that works.
    pub(crate) async fn ready_pool(&self, name: &Name) -> Result<PoolView, Failure> {
        let pool = self.pool(name).await?;
        match &pool.status {
            Status::Ready(_) => Ok(pool),
            Status::Failed { reason, .. } => {
                pool.keeper.suspect();
                Err(Failure::unavailable(format!("the pool {name} cannot be used: {reason}")))
            }
            Status::Starting => Err(Failure::unavailable(format!("the pool {name} is still starting: try again"))),
        }
    }

    /// A pool that works, looked at just now.
    pub(crate) async fn fresh_pool(&self, name: &Name) -> Result<PoolView, Failure> {
        self.ready_pool(name).await?.keeper.look().await;
        self.ready_pool(name).await
    }

    /// The worker of a pool.
    pub(crate) fn worker(&self, pool: &Name) -> ServiceClient {
        self.client.instance(TEMPLATE, pool.as_str()).deadline(self.config.call_limit())
    }

    /// The cluster service.
    pub(crate) fn cluster(&self) -> ServiceClient {
        self.client.service("cluster")
    }

    /// Passes a worker's answer on; after silence its pool is looked at.
    pub(crate) fn heed<T>(&self, pool: &Name, answer: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure) = &answer
            && matches!(failure.code, Code::DeadlineExceeded | Code::Unavailable)
            && let Some(view) = self.view().pools.get(pool)
        {
            view.keeper.suspect();
        }
        answer.map_err(|failure| failure.context(format!("pool {pool}")))
    }

    /// Waits for a worker's answer and heeds it. A caller whose time is over before the worker's is: this is dropped then, and
    /// the pool is looked at all the same.
    pub(crate) async fn hear<T>(
        &self,
        pool: &Name,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let mut doubt = Doubt(self.view().pools.get(pool).map(|pool| pool.keeper.clone()));
        let answer = answer.await;
        doubt.0 = None;
        self.heed(pool, answer)
    }

    /// Looks at a pool after something in it changed.
    pub(crate) async fn changed(&self, pool: &Name) {
        if let Some(view) = self.view().pools.get(pool) {
            view.keeper.look().await;
        }
    }

    /// An object of this node by its name; `None` if there is none.
    pub(crate) async fn find(&self, kind: Kind, name: &Name) -> Result<Option<Object>, Failure> {
        absent(self.cluster().call::<Get>(self.named(kind, name)).await.map(|reply| reply.object))
    }

    fn named(&self, kind: Kind, name: &Name) -> GetRequest {
        let (name, node) = (Some(name.to_string()), Some(self.context.node.clone()));
        GetRequest { kind, name, uid: None, node, min_index: None, linearizable: false, here: Some(true) }
    }

    /// An object by its uid; `None` if there is none.
    pub(crate) async fn find_uid(&self, kind: Kind, uid: Uid) -> Result<Option<Object>, Failure> {
        self.get_uid(kind, uid, false).await
    }

    /// The same with everything that was acknowledged before; it needs the control plane.
    pub(crate) async fn find_newest(&self, kind: Kind, uid: Uid) -> Result<Option<Object>, Failure> {
        self.get_uid(kind, uid, true).await
    }

    async fn get_uid(&self, kind: Kind, uid: Uid, linearizable: bool) -> Result<Option<Object>, Failure> {
        let request = GetRequest {
            kind,
            name: None,
            uid: Some(uid),
            node: None,
            min_index: None,
            linearizable,
            here: Some(true),
        };
        absent(self.cluster().call::<Get>(request).await.map(|reply| reply.object))
    }

    /// A declared image.
    pub(crate) async fn image(&self, name: &Name) -> Result<(Uid, ImageSpec), Failure> {
        let object = find_declared(&self.cluster(), self.named(Kind::Image, name)).await.map(|reply| reply.object);
        let object = absent(object)?.ok_or_else(|| {
            Failure::not_found(format!("there is no image {name}: `acpctl image list` shows those there are"))
        })?;
        let spec = object.spec_as::<ImageSpec>();
        let spec =
            spec.map_err(|error| Failure::internal(format!("the spec of image {name} cannot be read: {error}")))?;
        Ok((object.uid, spec))
    }

    fn no_pool(&self, name: &Name) -> Failure {
        let node = &self.context.node;
        Failure::not_found(format!("there is no pool {name} on node {node}: `acpctl pool create {name}` makes one"))
    }
}

fn absent(found: Result<Object, Failure>) -> Result<Option<Object>, Failure> {
    match found {
        Ok(object) => Ok(Some(object)),
        Err(failure) if failure.code == Code::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The reference to a volume's file.
pub(crate) fn volume_file(name: &Name) -> FileRef {
    FileRef { kind: Kind::Volume, name: name.to_string() }
}

/// The reference to an image's file.
pub(crate) fn image_file(uid: Uid) -> FileRef {
    FileRef { kind: Kind::Image, name: uid.to_string() }
}

/// Has a pool looked at when it is dropped, unless it was put out before.
#[derive(Debug)]
struct Doubt(Option<KeeperHandle>);

impl Drop for Doubt {
    fn drop(&mut self) {
        if let Some(keeper) = &self.0 {
            keeper.suspect();
        }
    }
}
