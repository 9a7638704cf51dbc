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
    let mut snapshots = app.snapshots.clone();
    let node = App::speaker(&snapshots.borrow(), &call.caller)?;
    if !snapshots.borrow().state.members().contains_key(&node) {
        let text = format!("node {node} is no member: it was removed or has left");
        return Err(Failure::new(Code::PermissionDenied, text));
    }
    let watch = app.presence.open(node);
    let mut known = call.request.known;
    // Whoever knows the newest one is told at once that it is.
    let mut due = Instant::now();
    loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        let directory = snapshot.directory()?;
        if !snapshot.state.members().contains_key(&node) {
            return Ok(api::WatchDirectoryReply { directory: Some(directory.clone()) });
        }
        if known.replace(directory.revision) != Some(directory.revision) {
            sink.send_json(snapshot.reply()?.to_owned()).await?;
            due = Instant::now() + HEARTBEAT;
        }
        tokio::select! {
            changed = snapshots.changed() => changed.map_err(|_gone| Failure::unavailable("the hub is ending"))?,
            () = tokio::time::sleep_until(due) => {
                sink.send(api::WatchDirectoryReply { directory: None }).await?;
                due = Instant::now() + HEARTBEAT;
            }
            () = watch.displaced() => {
                return Err(Failure::new(Code::Cancelled, "newer watches of this node have taken this one's place"));
            }
        }
    }
}
