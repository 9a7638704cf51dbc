//! `acp.hub`: the leader's real table of sessions over a log in memory; and an agent that finds it here.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use acp_base::{Failure, Uid};
use acp_core_lease::{Fact, Renewal, Sessions, Timing};
use acp_io_client::Upgraded;
use acp_io_daemon::{Router, boot_now};
use acp_wire_api::{
    agent::{Open, OpenReply},
    hub::{RenewSession, RenewSessionReply, RenewSessionRequest},
};
use acp_wire_model::entry::LeaseAct;

use super::World;

/// The node under test.
pub(crate) const HERE: Uid = Uid::from_u128(101);

/// Another one.
pub(crate) const THERE: Uid = Uid::from_u128(102);

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) fn router(world: &World) -> Router {
    let mut router = Router::new();
    let sessions = Arc::new(Mutex::new(None));
    let w = world.clone();
    router.once::<RenewSession, _, _>(move |call| renew(w.clone(), Arc::clone(&sessions), call.request));
    router
}

/// An agent that says of every service that it is on this node.
pub(crate) fn agent() -> Router {
    let mut router = Router::new();
    router.upgrade::<Open, _, _, _, _>(|_call| {
        let reply = OpenReply { node: "test".to_owned(), here: true, hops: Vec::new() };
        let serve = |near: Upgraded| -> Serving { Box::pin(async move { drop(near) }) };
        std::future::ready(Ok((reply, serve)))
    });
    router
}

async fn renew(
    world: World,
    sessions: Arc<Mutex<Option<Sessions>>>,
    request: RenewSessionRequest,
) -> Result<RenewSessionReply, Failure> {
    world.called::<RenewSession>("").await?;
    let now = boot_now();
    let fact = |system: Uid| world.lock().leases.get(&system).copied();
    let renewal = {
        let timing = Timing::of_ttl(world.lock().ttl.unwrap_or(Timing::DEFAULT.ttl())).expect("within the bounds");
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get_or_insert_with(|| Sessions::new_leader(now, timing)).renew(HERE, &request, now, now, fact)?
    };
    order(&world, &renewal);
    Ok(renewal.reply(fact, |node| if node == THERE { "there".to_owned() } else { "test".to_owned() }))
}

/// What apply does.
fn order(world: &World, renewal: &Renewal) {
    world.change(|state| {
        for (system, act) in renewal.acts() {
            let fact = state.leases.entry(*system).or_insert(Fact { holder: None, term: 0 });
            *fact = match act {
                LeaseAct::Grant { node } => Fact { holder: Some(*node), term: fact.term + 1 },
                LeaseAct::Release { .. } | LeaseAct::Revoke { .. } => Fact { holder: None, ..*fact },
            };
        }
    });
}
