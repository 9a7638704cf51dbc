//! `acp.hypervisor`: from the wire to the owner and back.

use std::time::Duration;

use acp_base::{Change, Code, Failure, Name};
use acp_core_system::{Task, policy};
use acp_io_client::{Client, find_declared};
use acp_io_daemon::{Context, Router};
use acp_wire_api::{
    Empty,
    cluster::GetRequest,
    hypervisor::{
        CreateSystem, CreateSystemReply, CreateSystemRequest, DeleteSystem, GetNode, GetNodeReply, ResetSystem,
        ShutdownSystem, ShutdownSystemRequest, StartSystem, StopSystem,
    },
    jobs::Started,
    vmm::Reset,
};
use acp_wire_model::Kind;
use tokio::sync::{mpsc, oneshot};

use crate::{create, effects::VMM, service::Message};

/// What every handler has at hand.
#[derive(Clone, Debug)]
pub(crate) struct Handlers {
    context: Context,
    owner: mpsc::Sender<Message>,
}

impl Handlers {
    pub(crate) fn new(context: &Context, owner: mpsc::Sender<Message>) -> Self {
        Self { context: context.clone(), owner }
    }

    /// Every method of `acp.hypervisor`.
    pub(crate) fn routes(&self, router: &mut Router) {
        let this = self.clone();
        router.once::<CreateSystem, _, _>(move |call| this.clone().create(call.request));
        let this = self.clone();
        router.once::<StartSystem, _, _>(move |call| this.clone().ask(call.request.name, Task::Start));
        let this = self.clone();
        router.once::<StopSystem, _, _>(move |call| this.clone().ask(call.request.name, Task::Stop));
        let this = self.clone();
        router.once::<ShutdownSystem, _, _>(move |call| this.clone().shutdown(call.request));
        let this = self.clone();
        router.once::<ResetSystem, _, _>(move |call| this.clone().reset(call.request.name));
        let this = self.clone();
        router.once::<DeleteSystem, _, _>(move |call| this.clone().ask(call.request.name, Task::Delete));
        let this = self.clone();
        router.once::<GetNode, _, _>(move |_call| this.clone().node());
    }

    /// In a task of its own, because what was begun must be brought to its end also when the caller has gone.
    async fn create(self, request: CreateSystemRequest) -> Result<CreateSystemReply, Failure> {
        let (reply, answer) = oneshot::channel();
        let Context { client, node, tasks, .. } = self.context;
        let owner = self.owner;
        tasks.spawn("create", async move {
            // A caller that is gone needs no answer.
            drop(reply.send(create::create(client, owner, node, request).await));
        });
        answer.await.map_err(|_dropped| given_up())?
    }

    async fn shutdown(self, request: ShutdownSystemRequest) -> Result<Started, Failure> {
        let timeout = request.timeout_ms.map_or(policy::SHUTDOWN_DEFAULT, Duration::from_millis);
        if timeout > policy::SHUTDOWN_MAX {
            let (given, most) = (timeout.as_millis(), policy::SHUTDOWN_MAX.as_millis());
            return Err(Failure::invalid(format!("timeout_ms: {given} is more than the most, {most}")));
        }
        self.ask(request.name, Task::Shutdown { timeout, force: request.force }).await
    }

    async fn ask(self, name: Name, task: Task) -> Result<Started, Failure> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::Ask { name: name.clone(), task, reply }).await?;
        let answer = answer.await.map_err(|_dropped| given_up())?;
        self.surely(&name, answer).await
    }

    async fn reset(self, name: Name) -> Result<Empty, Failure> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::AskReset { name: name.clone(), reply }).await?;
        let answer = answer.await.map_err(|_dropped| ending())?;
        let uid = self.surely(&name, answer).await?;
        let client: &Client = &self.context.client;
        client.instance(VMM, &uid.simple()).call::<Reset>(Empty {}).await
    }

    /// Says that a system does not exist only if that is so: the owner hears of declarations a moment after they were made,
    /// and later still while the cluster service starts again.
    async fn surely<T>(&self, name: &Name, answer: Result<T, Failure>) -> Result<T, Failure> {
        let Some(missing) = answer.as_ref().err().filter(|failure| failure.code == Code::NotFound) else {
            return answer;
        };
        let request = GetRequest {
            kind: Kind::System,
            name: Some(name.to_string()),
            uid: None,
            node: None,
            min_index: None,
            linearizable: false,
            here: Some(true),
        };
        let unsure = |why: &str| Err(Failure::unavailable(format!("system {:?} {why}; try again", name.as_str())));
        match find_declared(&self.context.client.service("cluster"), request).await {
            Ok(reply) if reply.object.spec["node"] == self.context.node.as_str() => unsure("is not known here yet"),
            Err(failure) if failure.code != Code::NotFound => unsure(&format!("cannot be looked for: {failure}")),
            Ok(_) | Err(_) => Err(missing.clone()),
        }
    }

    async fn node(self) -> Result<GetNodeReply, Failure> {
        let (reply, answer) = oneshot::channel();
        self.tell(Message::AskNode { reply }).await?;
        answer.await.map_err(|_dropped| ending())
    }

    async fn tell(&self, message: Message) -> Result<(), Failure> {
        self.owner.send(message).await.map_err(|_closed| ending())
    }
}

fn ending() -> Failure {
    Failure::unavailable("the hypervisor is ending; try again")
}

/// What was taken and not answered may have been done.
fn given_up() -> Failure {
    ending().changed(Change::Unknown)
}
