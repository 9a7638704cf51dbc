//! What nodes say of themselves and of each other.

use std::sync::Arc;

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Call, Caller};
use acp_wire_api::{Empty, hub as api};
use tokio::time::Instant;

use super::App;
use crate::{
    ask::{Answer, Ask},
    peers::AskError,
};

/// What a ring has at most beside the node that reports.
const STATES_MAX: usize = 63;

pub(super) async fn report_ring(app: Arc<App>, call: Call<api::ReportRing>) -> Result<Empty, Failure> {
    let (node, request) = (app.member(&call.caller)?, call.request);
    if request.states.len() > STATES_MAX {
        return Err(Failure::invalid(format!("states: at most {STATES_MAX}")));
    }
    app.pass_on(Ask::Ring { node, request }, call.context.deadline).await.map(|_done| Empty {})
}

pub(super) async fn keep_alive(app: Arc<App>, call: Call<api::KeepAlive>) -> Result<Empty, Failure> {
    let node = app.member(&call.caller)?;
    app.presence.heard(node);
    Ok(Empty {})
}

impl App {
    /// The member that calls.
    pub(super) fn member(&self, caller: &Caller) -> Result<Uid, Failure> {
        let snapshot = self.snapshot();
        let node = Self::speaker(&snapshot, caller)?;
        match snapshot.state.members().contains_key(&node) {
            true => Ok(node),
            false => Err(Failure::new(Code::PermissionDenied, format!("{} is no member", caller.actor()))),
        }
    }

    /// Answers if this hub leads, else the leader does. One attempt: the node says it again soon.
    pub(super) async fn pass_on(&self, ask: Ask, deadline: Instant) -> Result<Answer, Failure> {
        let Some(to) = self.seat.leader(deadline).await?.elsewhere else { return self.answer(ask).await };
        self.seat.peers().ask(to, &ask, deadline).await.map_err(|error| match error {
            AskError::NotSent => Failure::unavailable("the leader's hub is not reached"),
            AskError::Lost(reason) => Failure::unavailable(format!("the leader did not answer: {reason}")),
            AskError::Answered(failure) => failure,
        })
    }
}
