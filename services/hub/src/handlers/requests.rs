//! Nodes that ask for membership without a token, and operators who answer.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, Uid};
use acp_core_membership::{Command, Digest};
use acp_io_daemon::{Call, Sink, new_uid, wall_now};
use acp_io_pki::Request;
use acp_wire_api::{
    Empty,
    hub::{self as api, JoinAnswer, JoinOutcome},
};
use tokio::time::{Instant, timeout_at};

use super::App;
use crate::{newcomer::Presented, snapshot::Snapshot};

/// A node that asks.
struct Asking {
    uid: Uid,
    key: Digest,
    request: Request,
}

/// Keeps the request, says that it waits, and at the end what came of it.
pub(super) async fn ask(
    app: Arc<App>,
    call: Call<api::RequestJoin>,
    sink: Sink<api::RequestJoin>,
) -> Result<JoinAnswer, Failure> {
    let outcome = |outcome, request| JoinAnswer { outcome, request, admitted: None };
    let id = new_uid();
    if !app.config.requests {
        return Ok(outcome(JoinOutcome::Disabled, id));
    }
    app.snapshot().authority()?;
    let Presented { node, request } = Presented::read(call.request.node)?;
    let asking = Asking { uid: node.uid, key: node.key, request };
    let until = Instant::now() + Duration::from_millis(call.request.wait_ms);
    let command = Command::Ask { request: id, node, wait_ms: call.request.wait_ms };
    let snapshot = app.command(command, &call.caller, &call.context).await?;
    if asking.is_member(&snapshot) {
        return asking.admitted(&app, &snapshot, JoinOutcome::AlreadyJoined, id).await;
    }
    // Who asks again goes on with the first request.
    let id = asking.waiting(&snapshot).unwrap_or(id);
    sink.send(outcome(JoinOutcome::Waiting, id)).await?;
    let mut snapshots = app.replica.snapshots();
    let answered = snapshots.wait_for(|snapshot| asking.is_member(snapshot) || asking.waiting(snapshot).is_none());
    let answered = timeout_at(until, answered).await.map(|answered| answered.map(|snapshot| Arc::clone(&snapshot)));
    match answered {
        Err(_late) => Ok(outcome(JoinOutcome::Unanswered, id)),
        Ok(Err(_ending)) => Err(Failure::unavailable("the hub is ending")),
        Ok(Ok(snapshot)) if asking.is_member(&snapshot) => {
            asking.admitted(&app, &snapshot, JoinOutcome::Admitted, id).await
        }
        Ok(Ok(_snapshot)) => Ok(outcome(JoinOutcome::Rejected, id)),
    }
}

pub(super) async fn list(app: Arc<App>, _call: Call<api::ListRequests>) -> Result<api::ListRequestsReply, Failure> {
    let snapshot = app.snapshot();
    snapshot.directory()?;
    Ok(api::ListRequestsReply { requests: snapshot.state.waiting(wall_now().0) })
}

pub(super) async fn approve(app: Arc<App>, call: Call<api::Approve>) -> Result<Empty, Failure> {
    let command = Command::Approve { request: call.request.uid };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

pub(super) async fn reject(app: Arc<App>, call: Call<api::Reject>) -> Result<Empty, Failure> {
    let command = Command::Reject { request: call.request.uid };
    app.command(command, &call.caller, &call.context).await.map(|_snapshot| Empty {})
}

impl Asking {
    fn is_member(&self, snapshot: &Snapshot) -> bool {
        snapshot.is_key_of(self.uid, &self.key)
    }

    /// Its request, as long as that waits.
    fn waiting(&self, snapshot: &Snapshot) -> Option<Uid> {
        let mut requests = snapshot.state.requests().iter();
        requests.find(|(_, request)| request.node.uid == self.uid && request.node.key == self.key).map(|(uid, _)| *uid)
    }

    async fn admitted(
        &self,
        app: &App,
        snapshot: &Snapshot,
        outcome: JoinOutcome,
        request: Uid,
    ) -> Result<JoinAnswer, Failure> {
        let admitted = Some(app.admitted(snapshot, self.uid, &self.request).await?);
        Ok(JoinAnswer { outcome, request, admitted })
    }
}
