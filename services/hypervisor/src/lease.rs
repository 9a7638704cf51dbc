//! Asking the control plane for leases, and telling machine monitors until when their guests may run.
//!
//! Deliberately not here: what a reply means (`acp-core-lease` decides), and what follows for systems (the owner's).

use std::time::Duration;

use acp_base::{BootInstant, Failure, Uid};
use acp_core_lease::Deadlines;
use acp_io_client::Client;
use acp_wire_api::{
    framework::{RemoveUnit, UnitRequest},
    hub::{RenewSession, RenewSessionReply, RenewSessionRequest},
    vmm::{ExtendLease, ExtendLeaseRequest},
};

use crate::effects::{QEMU, VMM, unit_name};

/// How long a machine monitor may take to write down new deadlines: it needs a millisecond, and the next come in two seconds.
const EXTEND_LIMIT: Duration = Duration::from_secs(1);

/// How long the framework may take to end a QEMU whose lease is lost.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Asks the leader, through the agent, to renew this node's session.
pub(crate) async fn renew(
    client: &Client,
    request: RenewSessionRequest,
    limit: Duration,
) -> Result<RenewSessionReply, Failure> {
    client.service("hub").deadline(limit).call::<RenewSession>(request).await
}

/// Tells a system's machine monitor until when its guest may run.
pub(crate) async fn extend(client: &Client, uid: Uid, deadlines: Deadlines) -> Result<(), Failure> {
    let Deadlines { term, pause_at, kill_at } = deadlines;
    let request = ExtendLeaseRequest { term, pause_at_ms: millis(pause_at), kill_at_ms: millis(kill_at) };
    let vmm = client.instance(VMM, &uid.simple()).deadline(EXTEND_LIMIT);
    vmm.call::<ExtendLease>(request).await.map(drop)
}

/// Ends a QEMU whose lease is lost with its whole control group. Its machine monitor has killed it by now, if there is one.
pub(crate) async fn end(client: &Client, uid: Uid) -> Result<(), Failure> {
    let framework = client.service("framework").deadline(END_LIMIT);
    framework.call::<RemoveUnit>(UnitRequest { name: unit_name(QEMU, uid) }).await.map(drop)
}

/// What a start fails with that got no lease.
pub(crate) fn not_had(reason: &str) -> Failure {
    let reason = if reason.is_empty() { "the control plane does not answer" } else { reason };
    Failure::unavailable(reason)
}

/// Rounded down: earlier is safe.
const fn millis(at: BootInstant) -> u64 {
    at.as_nanos() / 1_000_000
}
