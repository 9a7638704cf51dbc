//! Listens to the framework, to machine monitors and to the clock, and tells the owner.

use std::time::Duration;

use acp_base::Uid;
use acp_core_system::{Guest, Sight};
use acp_io_client::Client;
use acp_wire_api::{
    Empty,
    framework::{GetUnit, ListUnits, Unit, UnitRequest, WatchUnits, WatchUnitsReply, WatchUnitsRequest},
    vmm::{MachineState, MachineStatus, Watch},
};
use acp_wire_model::unit::{UnitExit, UnitState};
use tokio::sync::mpsc;

use crate::{
    effects::{QEMU, VMM},
    service::Message,
};

/// The pause before a lost watch is asked for again: a daemon that restarts is back within it or a few more.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Follows the units of every system until the owner is gone.
pub(crate) async fn units(client: Client, owner: mpsc::Sender<Message>) {
    let templates = vec![QEMU.to_owned(), VMM.to_owned()];
    while !owner.is_closed() {
        let request = WatchUnitsRequest { templates: templates.clone() };
        if let Ok(mut replies) = client.service("framework").stream::<WatchUnits>(request).await {
            let mut is_first = true;
            while let Some(Ok(WatchUnitsReply { units, gone })) = replies.next().await {
                let message = if is_first { Message::AllUnits(units) } else { Message::SomeUnits { units, gone } };
                is_first = false;
                if owner.send(message).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Looks at one unit again, because an event said that it is gone.
pub(crate) async fn unit(client: Client, owner: mpsc::Sender<Message>, name: String) {
    loop {
        let answer = client.service("framework").call::<GetUnit>(UnitRequest { name: name.clone() }).await;
        let unit = match answer {
            Ok(reply) => Some(reply.unit),
            Err(failure) if failure.code == acp_base::Code::NotFound => None,
            Err(failure) => {
                tracing::debug!(unit = name, %failure, "a unit cannot be looked at");
                if owner.is_closed() {
                    return;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        // An owner that is gone needs no answer.
        drop(owner.send(Message::OneUnit { name, unit }).await);
        return;
    }
}

/// Follows one machine until it is aborted. `watch` tells this watch from earlier ones of the same system.
pub(crate) async fn machine(client: Client, owner: mpsc::Sender<Message>, uid: Uid, watch: u64) {
    while !owner.is_closed() {
        if let Ok(mut replies) = client.instance(VMM, &uid.simple()).stream::<Watch>(Empty {}).await {
            while let Some(Ok(status)) = replies.next().await {
                if owner.send(Message::Machine { uid, watch, guest: guest(&status) }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Takes measurements of the units at each interval.
pub(crate) async fn measurements(client: Client, owner: mpsc::Sender<Message>, interval: Duration) {
    while !owner.is_closed() {
        let units = match client.service("framework").call::<ListUnits>(Empty {}).await {
            Ok(reply) => reply.units,
            Err(failure) => {
                tracing::debug!(%failure, "the units cannot be measured");
                Vec::new()
            }
        };
        if owner.send(Message::Measured(units)).await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}

fn guest(status: &MachineStatus) -> Guest {
    let by_guest = status.guest_shutdown;
    match status.state {
        MachineState::Connecting => Guest::Connecting,
        MachineState::Prelaunch => Guest::Prelaunch,
        MachineState::Running => Guest::Running,
        MachineState::Paused => Guest::Paused,
        MachineState::Shutdown => Guest::Off { by_guest },
        MachineState::Gone => Guest::Gone { by_guest },
    }
}

/// What the core sees of a unit.
pub(crate) fn sight(unit: Option<&Unit>) -> Sight {
    let Some(unit) = unit else { return Sight::Absent };
    match unit.meta.state {
        UnitState::Waiting | UnitState::Starting | UnitState::Ready | UnitState::Backoff => Sight::Alive,
        UnitState::Stopping => Sight::Leaving,
        UnitState::Stopped | UnitState::Failed => Sight::Ended(unit.meta.exit.clone().unwrap_or(UnitExit {
            status: None,
            signal: None,
            out_of_memory: false,
            lost: true,
        })),
    }
}
