//! What this node's ring says, on its way to the hub, whose verdicts rest on it.

use std::{sync::Arc, time::Duration};

use acp_wire_api::hub::{ReportRing, ReportRingRequest};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::proposer::Hubs;

/// How often it is said again: a new leader knows nothing of what its predecessor was told.
const AGAIN_EVERY: Duration = Duration::from_secs(2);

/// How long a report may take; by then there is a newer one.
const REPORT_MAX: Duration = Duration::from_secs(2);

/// Tells the hub what is held of the others, as often as it changes.
pub(super) async fn run(
    hubs: Hubs,
    mut held: watch::Receiver<Option<Arc<ReportRingRequest>>>,
    drain: CancellationToken,
) {
    loop {
        let report = held.borrow_and_update().clone();
        if let Some(report) = report.filter(|report| !report.states.is_empty()) {
            let told = timeout(REPORT_MAX, hubs.ask::<ReportRing>((*report).clone())).await;
            if let Ok(Err(failure)) = told {
                tracing::debug!(reason = %failure, "the hub does not hear what the ring says");
            }
        }
        tokio::select! {
            () = drain.cancelled() => return,
            changed = timeout(AGAIN_EVERY, held.changed()) => if matches!(changed, Ok(Err(_))) { return },
        }
    }
}
