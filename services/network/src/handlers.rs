//! Calls of `acp.network`.

use std::{os::fd::OwnedFd, time::Duration};

use acp_base::{Change, Code, Failure, Name};
use acp_io_client::Client;
use acp_io_daemon::{Call, Context, Router, Tasks};
use acp_io_netlink::Netlink;
use acp_wire_api::{Empty, cluster, network as api};
use acp_wire_model::{Kind, Object};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::{
    declare::Declarations,
    error::OpenError,
    snapshot::{Snapshots, before_answer, first},
};

/// How long the cluster service may take to read a system before what this node knows already has to do: long enough for
/// a log that is being written, short against the caller's deadline.
const READ_MAX: Duration = Duration::from_secs(2);

/// How long a tap that is still held is asked for again: a killed QEMU lets go of it within milliseconds, a large one
/// takes a while to give back its memory.
const BUSY_MAX: Duration = Duration::from_secs(3);

/// The pause between two such requests.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A tap that is asked for.
#[derive(Debug)]
pub(crate) struct OpenTap {
    pub(crate) request: api::OpenTapRequest,
    /// The system as just read; absent if the cluster service did not answer.
    pub(crate) system: Option<Object>,
    pub(crate) answer: oneshot::Sender<Result<(api::OpenTapReply, OwnedFd), OpenError>>,
}

/// What the handlers work with.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    client: Client,
    node: Name,
    netlink: Netlink,
    tasks: Tasks,
    commands: mpsc::Sender<OpenTap>,
    snapshots: Snapshots,
}

/// Every method of the interface.
pub(crate) fn routes(router: &mut Router, handlers: Handlers) {
    let this = handlers.clone();
    router.once::<api::CreateNetwork, _, _>(move |call| this.clone().create(call));
    let this = handlers.clone();
    router.once::<api::DeleteNetwork, _, _>(move |call| this.clone().delete(call));
    router.once_fds::<api::OpenTap, _, _>(move |call| handlers.clone().open_tap(call));
}

impl Handlers {
    pub(crate) fn new(
        context: &Context,
        netlink: Netlink,
        commands: mpsc::Sender<OpenTap>,
        snapshots: Snapshots,
    ) -> Self {
        let (client, node) = (context.client.clone(), context.node.clone());
        Self { client, node, netlink, tasks: context.tasks.clone(), commands, snapshots }
    }

    async fn create(self, call: Call<api::CreateNetwork>) -> Result<Empty, Failure> {
        let work = self.declarations(&call.context.id).create(call.request, call.context.deadline);
        self.to_its_end("create-network", work).await
    }

    async fn delete(self, call: Call<api::DeleteNetwork>) -> Result<Empty, Failure> {
        let work = self.declarations(&call.context.id).delete(call.request.name, call.context.deadline);
        self.to_its_end("delete-network", work).await
    }

    async fn open_tap(mut self, call: Call<api::OpenTap>) -> Result<(api::OpenTapReply, Vec<OwnedFd>), Failure> {
        let deadline = call.context.deadline;
        first(&mut self.snapshots, before_answer(deadline)).await?;
        let system = self.read_system(&call.request).await?;
        let busy_until = deadline.min(Instant::now() + BUSY_MAX);
        loop {
            match self.ask(call.request.clone(), system.clone()).await? {
                Ok((reply, tap)) => return Ok((reply, vec![tap])),
                Err(error) if error.is_busy() && Instant::now() < busy_until => tokio::time::sleep(BUSY_PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The system as the log has it now: the watch may lag behind whoever just created it.
    async fn read_system(&self, request: &api::OpenTapRequest) -> Result<Option<Object>, Failure> {
        let get = cluster::GetRequest {
            kind: Kind::System,
            name: None,
            uid: Some(request.system),
            node: None,
            min_index: None,
            linearizable: false,
            here: Some(true),
        };
        match self.client.service("cluster").deadline(READ_MAX).call::<cluster::Get>(get).await {
            Ok(reply) => Ok(Some(reply.object)),
            Err(failure) if matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded) => Ok(None),
            Err(failure) => Err(failure.context("cannot open a tap")),
        }
    }

    async fn ask(
        &self,
        request: api::OpenTapRequest,
        system: Option<Object>,
    ) -> Result<Result<(api::OpenTapReply, OwnedFd), OpenError>, Failure> {
        let ending = || Failure::unavailable("the network service is ending");
        let (answer, answered) = oneshot::channel();
        self.commands.send(OpenTap { request, system, answer }).await.map_err(|_unsent| ending())?;
        answered.await.map_err(|_dropped| ending())
    }

    fn declarations(&self, request_id: &str) -> Declarations {
        Declarations {
            client: self.client.with_request_id(request_id),
            node: self.node.clone(),
            netlink: self.netlink.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    /// Runs work that must not be left half done when its caller goes away.
    async fn to_its_end(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<(), Failure>> + Send + 'static,
    ) -> Result<Empty, Failure> {
        let (done, is_done) = oneshot::channel();
        self.tasks.spawn(name, async move {
            // A caller that is gone needs no answer.
            drop(done.send(work.await));
        });
        // What was begun and is not answered may have been done.
        let given_up = || Failure::internal(format!("{name} ended without a result")).changed(Change::Unknown);
        is_done.await.map_err(|_dropped| given_up())??;
        Ok(Empty {})
    }
}
