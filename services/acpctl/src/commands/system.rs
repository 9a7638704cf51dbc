//! `acpctl system`.

use acp_base::{Failure, Name};
use acp_wire_api::{
    hypervisor::CreateSystemRequest,
    jobs::Started,
    vmm::{ReadConsole, ReadConsoleRequest},
};
use acp_wire_model::Kind;
use serde_json::json;

use super::{list, show};
use crate::{args::SystemVerb, console, session::Session, wait};

const HYPERVISOR: &str = "hypervisor";

/// Verbs that act on a system act where it is at home; looking at it needs no other node.
pub(super) async fn run(session: &mut Session, verb: SystemVerb) -> Result<u8, Failure> {
    if let Some(name) = acts_on(&verb) {
        session.go_to_system(name).await?;
    }
    match verb {
        SystemVerb::Create {
            name,
            image,
            cpus,
            memory,
            disk,
            pool,
            on,
            networks,
            autostart,
            floating,
            start,
            wait,
        } => {
            session.place(on.as_ref()).await?;
            let request = CreateSystemRequest {
                name: name.clone(),
                image,
                cpus,
                memory_bytes: memory,
                disk_bytes: disk,
                pool,
                networks,
                autostart,
                floating,
            };
            let created = session.acp().systems().create(request).await?;
            let job = Started { job: Some(created.job) };
            if !start {
                return wait::conclude(session, HYPERVISOR, job, wait.wait, &format!("system {name} is created")).await;
            }
            // A system starts only when its disks are there.
            wait::follow(session, HYPERVISOR, created.job).await?;
            self::start(session, name, wait.wait).await
        }
        SystemVerb::List => list(session, Kind::System).await,
        SystemVerb::Show(system) => show(session, Kind::System, system.name.as_str()).await,
        SystemVerb::Start { name, wait } => start(session, name, wait.wait).await,
        SystemVerb::Stop { name, wait } => {
            session.confirm(&format!("end system {name} at once, as if its plug were pulled"))?;
            let started = session.acp().systems().stop(&name).await?;
            wait::conclude(session, HYPERVISOR, started, wait.wait, &format!("system {name} is stopped")).await
        }
        SystemVerb::Shutdown { name, within, force, wait } => {
            let started = session.acp().systems().shutdown(&name, within.map(|span| span.0), force).await?;
            wait::conclude(session, HYPERVISOR, started, wait.wait, &format!("system {name} is shut down")).await
        }
        SystemVerb::Reset(system) => {
            let name = system.name;
            session.confirm(&format!("reset system {name} without telling its guest"))?;
            session.acp().systems().reset(&name).await?;
            session.out.done(&format!("system {name} is reset"), &json!({ "name": name }))?;
            Ok(crate::DONE)
        }
        SystemVerb::Delete { name, wait } => {
            session.confirm(&format!("delete system {name} with its disks"))?;
            let started = session.acp().systems().delete(&name).await?;
            wait::conclude(session, HYPERVISOR, started, wait.wait, &format!("system {name} is deleted")).await
        }
        SystemVerb::Console { name, backlog } => console::run(session, &name, backlog).await,
        SystemVerb::Log { name, bytes, follow } => log(session, &name, bytes, follow).await,
    }
}

/// The system whose node has to be found before anything is done.
const fn acts_on(verb: &SystemVerb) -> Option<&Name> {
    match verb {
        SystemVerb::Create { .. } | SystemVerb::List | SystemVerb::Show(_) => None,
        SystemVerb::Start { name, .. }
        | SystemVerb::Stop { name, .. }
        | SystemVerb::Shutdown { name, .. }
        | SystemVerb::Delete { name, .. }
        | SystemVerb::Console { name, .. }
        | SystemVerb::Log { name, .. } => Some(name),
        SystemVerb::Reset(system) => Some(&system.name),
    }
}

async fn start(session: &mut Session, name: Name, is_waiting: bool) -> Result<u8, Failure> {
    let done = format!("system {name} is running");
    let started = session.acp().systems().start(&name).await?;
    wait::conclude(session, HYPERVISOR, started, is_waiting, &done).await
}

async fn log(session: &mut Session, name: &Name, bytes: u32, follow: bool) -> Result<u8, Failure> {
    let system = session.get(Kind::System, name.as_str()).await?;
    let vmm = console::monitor(session, &system)?;
    let replies = vmm.stream::<ReadConsole>(ReadConsoleRequest { bytes, follow }).await?;
    let mut replies = if follow { replies } else { replies.bounded() };
    while let Some(reply) = replies.next().await {
        let text = reply?.text;
        if session.out.is_for_people() {
            session.out.writer().text(&text)?;
        } else {
            session.out.item("", &json!({ "text": text }))?;
        }
    }
    Ok(crate::DONE)
}
