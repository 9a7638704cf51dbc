//! Sessions and leases: the leader's table, driven.

use std::{sync::Arc, time::Duration};

use acp_base::{Code, Failure, Uid};
use acp_core_cdb::{LeaseRecord, State};
use acp_core_lease::{Fact, Sessions, Timing};
use acp_io_daemon::{Call, boot_now};
use acp_wire_api::hub as api;
use acp_wire_model::entry::{Action, LeaseAct};
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval},
};

use super::App;
use crate::{
    ask::{Answer, Ask},
    orders::{Draft, ENTRIES_MAX, OrderError, not_leader},
    peers::AskError,
    seat::no_log,
};

/// How often the leader looks for leases whose time is over: a small part of a session.
const PERIOD: Duration = Duration::from_millis(500);

/// The sessions of one leadership.
#[derive(Debug)]
struct Table {
    term: u64,
    sessions: Sessions,
}

/// Who lives and may run what, as long as this hub leads.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    table: Mutex<Option<Table>>,
}

pub(super) async fn renew(app: Arc<App>, call: Call<api::RenewSession>) -> Result<api::RenewSessionReply, Failure> {
    let denied = || Failure::new(Code::PermissionDenied, format!("{} is no node", call.caller.actor()));
    let node = match call.caller.principal() {
        None => app.replica.here().ok_or_else(no_log)?,
        Some(_) => call.caller.node().ok_or_else(denied)?,
    };
    let (request, deadline) = (call.request, call.context.deadline);
    match app.seat.leader(deadline).await?.elsewhere {
        None => app.leases.renew(&app, node, request, deadline).await,
        // One attempt: the node asks again soon, and a late answer is worth nothing.
        Some(to) => match app.seat.peers().ask(to, &Ask::Session { node, request }, deadline).await {
            Ok(Answer::Session(reply)) => Ok(reply),
            Ok(_other) => Err(Failure::internal("the leader's hub answered something else")),
            Err(AskError::NotSent) => Err(Failure::unavailable("the leader's hub is not reached")),
            Err(AskError::Lost(reason)) => Err(Failure::unavailable(format!("the leader did not answer: {reason}"))),
            Err(AskError::Answered(failure)) => Err(failure),
        },
    }
}

impl Leases {
    /// Renews a node's session, if this hub leads, and has ordered what follows from it.
    pub(super) async fn renew(
        &self,
        app: &App,
        node: Uid,
        request: api::RenewSessionRequest,
        deadline: Instant,
    ) -> Result<api::RenewSessionReply, Failure> {
        // A majority confirms after this moment that this hub leads.
        let confirmed = boot_now();
        app.linear_here(deadline).await?;
        let renewal = {
            let mut table = self.table.lock().await;
            let sessions = current(&mut table, app).ok_or_else(not_leader)?;
            let fact = |system| app.replica.read(|state| state.lease(system).map(fact));
            sessions.renew(node, &request, boot_now(), confirmed, fact).map_err(Failure::from)?
        };
        order(app, renewal.acts().to_vec()).await?;
        let name = |node| app.name_of(node).map_or_else(|| node.to_string(), |name| name.to_string());
        Ok(renewal.reply(|system| app.replica.read(|state| state.lease(system).map(fact)), name))
    }
}

/// Takes back what is not renewed, as long as this hub leads, until the drain.
pub(crate) async fn expire(app: Arc<App>) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.drain.cancelled() => return,
            _tick = period.tick() => {}
        }
        let acts = {
            let mut table = app.leases.table.lock().await;
            let Some(sessions) = current(&mut table, &app) else { continue };
            sessions.expired(boot_now(), app.replica.read(all))
        };
        match order(&app, acts).await {
            Ok(()) => {}
            Err(failure) => tracing::warn!(reason = %failure, "leases could not be taken back yet"),
        }
    }
}

/// The table of this leadership, a new one if it has just begun; none if this hub does not lead.
fn current<'a>(table: &'a mut Option<Table>, app: &App) -> Option<&'a mut Sessions> {
    let term = {
        let status = app.seat.status();
        let status = status.borrow();
        status.is_leader().then_some(status.term)
    };
    let Some(term) = term else {
        *table = None;
        return None;
    };
    if table.as_ref().is_none_or(|table| table.term != term) {
        let sessions = Sessions::new_leader(boot_now(), Timing::DEFAULT);
        // Grants of an epoch that was cut off may be missing here, and their holders at work still.
        let is_first_epoch = app.replica.position().borrow().epoch.is_none_or(|epoch| epoch.number == 1);
        let sessions = if is_first_epoch { sessions } else { sessions.withholding() };
        *table = Some(Table { term, sessions });
    }
    table.as_mut().map(|table| &mut table.sessions)
}

async fn order(app: &App, acts: Vec<(Uid, LeaseAct)>) -> Result<(), Failure> {
    for acts in acts.chunks(ENTRIES_MAX) {
        let draft = |(system, act): &(Uid, LeaseAct)| {
            Draft::new("hub", "", Action::Lease { system: *system, act: act.clone() })
        };
        match app.orders.order_here(acts.iter().map(draft).collect()).await {
            // What was decided against is in the state that is read next.
            Ok(_decisions) => {}
            Err(OrderError::NotLeader) => return Err(not_leader()),
            Err(OrderError::Failed(failure)) => return Err(failure),
        }
    }
    Ok(())
}

fn fact(lease: LeaseRecord) -> Fact {
    Fact { holder: lease.holder, term: lease.term }
}

fn all(state: &State) -> Vec<(Uid, Fact)> {
    state.leases().iter().map(|(system, lease)| (*system, fact(*lease))).collect()
}
