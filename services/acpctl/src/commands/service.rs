//! `acpctl service`. Units are asked of the framework itself, so that they are seen when the cluster service is down.

mod outdated;

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    framework::{
        GetUnit, ListUnits, ReadLog, ReadLogRequest, RestartUnit, StartUnit, StopUnit, Unit, UnitReply, UnitRequest,
    },
};
use acp_wire_model::{Kind, unit::UnitState};
use serde_json::{Value, json};

use crate::{
    args::{ServiceVerb, UnitArg},
    columns,
    output::to_value,
    session::Session,
};

/// The service that answers for units.
pub(super) const FRAMEWORK: &str = "framework";

pub(super) async fn run(session: &mut Session, verb: ServiceVerb) -> Result<u8, Failure> {
    match verb {
        ServiceVerb::List => {
            let units = session.call::<ListUnits>(FRAMEWORK, Empty {}).await?.units;
            let rows = units.iter().map(view).collect::<Result<Vec<_>, _>>()?;
            session.out.list(&rows, columns::of(Kind::Service))?;
            Ok(crate::DONE)
        }
        ServiceVerb::Show(unit) => {
            let reply = session.call::<GetUnit>(FRAMEWORK, request(unit)).await?;
            session.out.object(&view(&reply.unit)?)?;
            Ok(crate::DONE)
        }
        ServiceVerb::Start(unit) => {
            let reply = session.call_patiently::<StartUnit>(FRAMEWORK, request(unit)).await?;
            concluded(session, &reply, UnitState::Ready)
        }
        ServiceVerb::Stop(unit) => {
            let reply = session.call_patiently::<StopUnit>(FRAMEWORK, request(unit)).await?;
            concluded(session, &reply, UnitState::Stopped)
        }
        ServiceVerb::Restart { name: Some(name), .. } => restart(session, name).await,
        ServiceVerb::Restart { name: None, .. } => outdated::restart(session).await,
        ServiceVerb::Outdated => outdated::list(session).await,
        ServiceVerb::Log { unit, lines, follow } => log(session, unit, lines, follow).await,
    }
}

async fn restart(session: &mut Session, name: String) -> Result<u8, Failure> {
    let reply = session.call_patiently::<RestartUnit>(FRAMEWORK, UnitRequest { name }).await?;
    concluded(session, &reply, UnitState::Ready)
}

fn request(unit: UnitArg) -> UnitRequest {
    UnitRequest { name: unit.name }
}

/// A unit in the shape of an object; it comes from its reporter directly, so it has no age.
pub(super) fn view(unit: &Unit) -> Result<Value, Failure> {
    Ok(json!({
        "kind": Kind::Service,
        "name": unit.name,
        "uid": unit.uid,
        "version": 0,
        "spec": {},
        "status": to_value(&unit.meta)?,
        "stats": to_value(&unit.stats)?,
        "reporter": FRAMEWORK,
        "age_ms": 0,
    }))
}

fn concluded(session: &mut Session, reply: &UnitReply, wanted: UnitState) -> Result<u8, Failure> {
    let unit = &reply.unit;
    let state = to_value(&unit.meta.state)?;
    let state = state.as_str().unwrap_or_default();
    if unit.meta.state != wanted {
        let reason = if unit.meta.reason.is_empty() { String::new() } else { format!(": {}", unit.meta.reason) };
        return Err(Failure::precondition(format!(
            "{} is {state}{reason}; see: {}",
            unit.name,
            session.advice(&format!("service log {}", unit.name))
        )));
    }
    session.out.done(&format!("{} is {state}", unit.name), &view(unit)?)?;
    Ok(crate::DONE)
}

async fn log(session: &mut Session, unit: UnitArg, lines: u32, follow: bool) -> Result<u8, Failure> {
    let request = ReadLogRequest { name: unit.name, lines, follow };
    let replies = session.service(FRAMEWORK)?.stream::<ReadLog>(request).await?;
    let mut replies = if follow { replies } else { replies.bounded() };
    while let Some(reply) = replies.next().await {
        for line in reply?.lines {
            session.out.item(&line, &json!({ "line": line }))?;
        }
    }
    Ok(crate::DONE)
}
