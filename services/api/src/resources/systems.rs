//! Systems.

use acp_base::{Failure, Name};
use acp_wire_api::{
    cluster,
    hypervisor::{
        CreateSystem, CreateSystemRequest, DeleteSystem, ResetSystem, ShutdownSystem, ShutdownSystemRequest,
        StartSystem, StopSystem, SystemRequest,
    },
    jobs::Started,
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::views::{System, list, show};
use crate::{
    answer::{Accepted, Done},
    call::Call,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get(
            "/systems",
            "listSystems",
            "Lists the systems of the cluster; the state of each is known on its own node.",
            list::<System>,
        )
        .paged()
        .calls::<cluster::List>(),
        Operation::post(
            "/systems",
            "createSystem",
            "Declares a system and starts the job that makes its disks.",
            create,
        )
        .calls::<CreateSystem>(),
        Operation::get("/systems/{name}", "getSystem", "Answers one system.", show::<System>).calls::<cluster::Get>(),
        Operation::delete("/systems/{name}", "deleteSystem", "Removes a stopped system with its disks.", delete)
            .calls::<DeleteSystem>(),
        Operation::act("/systems/{name}/start", "startSystem", "Gets a system running.", start).calls::<StartSystem>(),
        Operation::act(
            "/systems/{name}/stop",
            "stopSystem",
            "Ends a system at once, as if the plug were pulled.",
            stop,
        )
        .calls::<StopSystem>(),
        Operation::post("/systems/{name}/shutdown", "shutdownSystem", "Asks the guest to power off.", shutdown)
            .calls::<ShutdownSystem>(),
        Operation::act("/systems/{name}/reset", "resetSystem", "Resets a system, as the button would.", reset)
            .calls::<ResetSystem>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

/// How a system is shut down.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Shutdown {
    /// How long the guest may take, in milliseconds; absent: 60,000; at most 3,600,000.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// Whether the system is stopped when the time is over; else the job fails and the system runs on.
    #[serde(default)]
    force: bool,
}

async fn create(call: Call, request: CreateSystemRequest) -> Result<Accepted, Failure> {
    let reply = call.ask::<CreateSystem>(request).await?;
    Ok(Accepted::new(&call, &Started { job: Some(reply.job) }, Some(reply.uid)))
}

async fn start(call: Call) -> Result<Accepted, Failure> {
    let (call, system) = at_home(call).await?;
    let started = call.ask::<StartSystem>(system).await?;
    Ok(Accepted::new(&call, &started, None))
}

async fn stop(call: Call) -> Result<Accepted, Failure> {
    let (call, system) = at_home(call).await?;
    let started = call.ask::<StopSystem>(system).await?;
    Ok(Accepted::new(&call, &started, None))
}

async fn shutdown(call: Call, how: Shutdown) -> Result<Accepted, Failure> {
    let (call, SystemRequest { name }) = at_home(call).await?;
    let request = ShutdownSystemRequest { name, timeout_ms: how.timeout_ms, force: how.force };
    let started = call.ask::<ShutdownSystem>(request).await?;
    Ok(Accepted::new(&call, &started, None))
}

async fn reset(call: Call) -> Result<Done, Failure> {
    let (call, system) = at_home(call).await?;
    call.ask::<ResetSystem>(system).await?;
    Ok(Done)
}

async fn delete(call: Call) -> Result<Accepted, Failure> {
    let (call, system) = at_home(call).await?;
    let started = call.ask::<DeleteSystem>(system).await?;
    Ok(Accepted::new(&call, &started, None))
}

/// The request on the node where the system is at home.
async fn at_home(call: Call) -> Result<(Call, SystemRequest), Failure> {
    let name: Name = call.path("name")?;
    Ok((call.at_system(&name).await?, SystemRequest { name }))
}
