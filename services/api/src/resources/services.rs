//! Services: the units that a node's framework supervises.

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    framework::{
        GetUnit, ListUnits, ReadLog, ReadLogRequest, RestartUnit, StartUnit, StopUnit, Unit, UnitReply, UnitRequest,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::{Found, List},
    call::Call,
    limits::{LINES_DEFAULT, LINES_MAX},
    operation::Operation,
    parameter,
};

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get("/services", "listServices", "Lists the units of a node.", list).paged().calls::<ListUnits>(),
        Operation::get("/services/{unit}", "getService", "Answers one unit.", show).calls::<GetUnit>(),
        Operation::act("/services/{unit}/start", "startService", "Starts a unit; answers when it is ready.", start)
            .calls::<StartUnit>(),
        Operation::act("/services/{unit}/stop", "stopService", "Stops a unit and keeps it stopped.", stop)
            .calls::<StopUnit>(),
        Operation::act("/services/{unit}/restart", "restartService", "Stops and starts a unit.", restart)
            .calls::<RestartUnit>(),
        Operation::get("/services/{unit}/log", "getServiceLog", "Answers the last lines of a unit's log.", log)
            .takes(&[&parameter::LINES])
            .calls::<ReadLog>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

/// The end of a unit's log.
#[derive(Debug, Serialize, ToSchema)]
struct LogTail {
    /// The lines, oldest first.
    lines: Vec<String>,
}

async fn list(call: Call) -> Result<Found<List<Unit>>, Failure> {
    let units = call.ask::<ListUnits>(Empty {}).await?.units;
    Ok(Found(List::part(&call, units, |unit| unit.name.clone())?))
}

async fn show(call: Call) -> Result<Found<Unit>, Failure> {
    answer(call.ask::<GetUnit>(unit(&call)?).await)
}

async fn start(call: Call) -> Result<Found<Unit>, Failure> {
    answer(call.ask::<StartUnit>(unit(&call)?).await)
}

async fn stop(call: Call) -> Result<Found<Unit>, Failure> {
    answer(call.ask::<StopUnit>(unit(&call)?).await)
}

async fn restart(call: Call) -> Result<Found<Unit>, Failure> {
    answer(call.ask::<RestartUnit>(unit(&call)?).await)
}

async fn log(call: Call) -> Result<Found<LogTail>, Failure> {
    let wanted = call.query("lines")?.unwrap_or(LINES_DEFAULT);
    if !(1..=LINES_MAX).contains(&wanted) {
        return Err(Failure::invalid(format!("lines: {wanted} is not within 1 and {LINES_MAX}")));
    }
    let request = ReadLogRequest { name: call.path("unit")?, lines: wanted, follow: false };
    let mut replies = call.service("framework").stream::<ReadLog>(request).await?.bounded();
    let mut lines = Vec::new();
    while let Some(reply) = replies.next().await {
        lines.extend(reply?.lines);
    }
    Ok(Found(LogTail { lines }))
}

fn unit(call: &Call) -> Result<UnitRequest, Failure> {
    Ok(UnitRequest { name: call.path("unit")? })
}

fn answer(reply: Result<UnitReply, Failure>) -> Result<Found<Unit>, Failure> {
    Ok(Found(reply?.unit))
}
