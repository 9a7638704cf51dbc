//! Systems: virtual machines and what is done with them on the node where they are at home ([`crate::Connection::at_system`]).

use std::time::Duration;

use acp_base::{Failure, Name};
use acp_wire_api::{
    Empty,
    cluster::{Lease, ListLeases},
    hypervisor::{
        CreateSystem, CreateSystemReply, CreateSystemRequest, DeleteSystem, ResetSystem, ShutdownSystem,
        ShutdownSystemRequest, StartSystem, StopSystem, SystemRequest,
    },
    jobs::Started,
};
use acp_wire_model::{Kind, Object};

use crate::{Connection, home::CLUSTER};

const HYPERVISOR: &str = "hypervisor";

/// Systems. What takes a while starts a job of the service `hypervisor`, which [`crate::Jobs::follow`] follows;
/// without one there was nothing to do.
#[derive(Clone, Copy, Debug)]
pub struct Systems<'a> {
    connection: &'a Connection,
}

impl<'a> Systems<'a> {
    pub(crate) const fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// All systems of the cluster, in the order of their names.
    pub async fn list(self) -> Result<Vec<Object>, Failure> {
        self.connection.objects().list(Kind::System, Vec::new()).await
    }

    /// One system.
    pub async fn get(self, name: &Name) -> Result<Object, Failure> {
        self.connection.objects().get(Kind::System, name.as_str()).await
    }

    /// Who runs which floating system under which lease, in the order of their names.
    pub async fn leases(self) -> Result<Vec<Lease>, Failure> {
        self.connection.call::<ListLeases>(CLUSTER, Empty {}).await.map(|reply| reply.leases)
    }

    /// Creates a system; its job makes the disks.
    pub async fn create(self, request: CreateSystemRequest) -> Result<CreateSystemReply, Failure> {
        self.connection.call::<CreateSystem>(HYPERVISOR, request).await
    }

    /// Starts a system.
    pub async fn start(self, name: &Name) -> Result<Started, Failure> {
        self.connection.call::<StartSystem>(HYPERVISOR, SystemRequest { name: name.clone() }).await
    }

    /// Ends a system at once, as if its plug were pulled.
    pub async fn stop(self, name: &Name) -> Result<Started, Failure> {
        self.connection.call::<StopSystem>(HYPERVISOR, SystemRequest { name: name.clone() }).await
    }

    /// Asks a system's guest to power off. It may take `within` (absent: 60 s); then the system is ended if `force`, and else
    /// runs on.
    pub async fn shutdown(self, name: &Name, within: Option<Duration>, force: bool) -> Result<Started, Failure> {
        let timeout_ms = within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let request = ShutdownSystemRequest { name: name.clone(), timeout_ms, force };
        self.connection.call::<ShutdownSystem>(HYPERVISOR, request).await
    }

    /// Presses a system's reset button.
    pub async fn reset(self, name: &Name) -> Result<(), Failure> {
        let request = SystemRequest { name: name.clone() };
        self.connection.call::<ResetSystem>(HYPERVISOR, request).await.map(|Empty {}| ())
    }

    /// Deletes a stopped system with its disks.
    pub async fn delete(self, name: &Name) -> Result<Started, Failure> {
        self.connection.call::<DeleteSystem>(HYPERVISOR, SystemRequest { name: name.clone() }).await
    }
}
