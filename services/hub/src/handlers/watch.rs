//! The directory, told to each member as it changes.

use std::{sync::Arc, time::Duration};

use acp_base::{Code, Failure};
use acp_io_daemon::{Call, Sink};
use acp_wire_api::hub as api;
use tokio::time::Instant;

use super::App;

/// How long a watch is silent at most. The interface promises 2 seconds; the rest is for the way.
const HEARTBEAT: Duration = Duration::from_millis(1_500);

/// Sends the directory, then each newer one, until the caller is gone. A member that is taken out is told so by the last
/// directory it is sent.
pub(super) async fn watch(
    app: Arc<App>,
    call: Call<api::WatchDirectory>,
    sink: Sink<api::WatchDirectory>,
) -> Result<api::WatchDirectoryReply, Failure> {
    let mut snapshots = app.replica.snapshots();
    let node = App::speaker(&snapshots.borrow(), &call.caller)?;
    if !snapshots.borrow().state.members().contains_key(&node) {
        let text = format!("node {node} is no member: it was removed or has left");
        return Err(Failure::new(Code::PermissionDenied, text));
    }
    let watch = app.presence.open(node);
    let mut degraded = app.degraded.watch();
    let api::WatchDirectoryRequest { known, epoch } = call.request;
    // Revisions of another epoch say nothing: the same number may be another directory.
    let is_of_this = |directory: &api::Directory| epoch.is_empty() || epoch == directory.epoch;
    let mut known = known.filter(|_| snapshots.borrow().directory().is_ok_and(is_of_this));
    // Whoever knows the newest one is told at once that it is.
    let mut due = Instant::now();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let directory = snapshot.directory()?;
        if !snapshot.state.members().contains_key(&node) {
            let degraded = app.degraded.reason();
            return Ok(api::WatchDirectoryReply { directory: Some(directory.clone()), degraded });
        }
        if known.replace(directory.revision) != Some(directory.revision) {
            sink.send_json(snapshot.reply()?.to_owned()).await?;
            // The directory is written once for all; that nothing can be changed is said beside it.
            let is_degraded = !degraded.borrow_and_update().is_empty();
            due = Instant::now() + if is_degraded { Duration::ZERO } else { HEARTBEAT };
        }
        tokio::select! {
            changed = snapshots.changed() => changed.map_err(|_gone| Failure::unavailable("the hub is ending"))?,
            changed = degraded.changed() => {
                changed.map_err(|_gone| Failure::unavailable("the hub is ending"))?;
                due = Instant::now();
            }
            () = tokio::time::sleep_until(due) => {
                let degraded = app.degraded.reason();
                sink.send(api::WatchDirectoryReply { directory: None, degraded }).await?;
                due = Instant::now() + HEARTBEAT;
            }
            () = watch.displaced() => {
                return Err(Failure::new(Code::Cancelled, "newer watches of this node have taken this one's place"));
            }
        }
    }
}
