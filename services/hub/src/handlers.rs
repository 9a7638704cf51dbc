//! From the wire to the log and back; no decisions.

mod admission;
mod announce;
mod detect;
mod follow;
mod keys;
mod log;
mod members;
mod nodes;
mod quorum;
mod recovery;
mod requests;
mod seat;
mod secrets;
mod session;
mod upgrade;
mod verdicts;
mod view;
mod watch;

use std::{future::Future, sync::Arc, time::Duration};

use acp_base::{Code, Failure, Name, Uid, WallTime};
use acp_core_membership::Command;
use acp_io_daemon::{Call, CallContext, Caller, Refusals, Router, Tasks, wall_now};
use acp_io_pki::{Request, Validity};
use acp_wire_api::{Method, hub as api};
use acp_wire_model::entry::Action;
use rustls::pki_types::UnixTime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use keys::{Keyring, keep as keep_keys};
pub(crate) use session::{Leases, expire};
pub(crate) use verdicts::{Judge, judge};

use crate::{
    Config,
    ask::{Answer, Ask},
    audit,
    clocks::Clocks,
    degraded::Degraded,
    error::pki_failure,
    founding::Founding,
    log::Replica,
    metrics,
    orders::{Draft, Orders, until},
    presence::Presence,
    seat::Seat,
    sight::Sight,
    snapshot::Snapshot,
    spread::Spread,
};

/// How long the leader is asked what time it is by whoever can go by a clock of its own.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// What the handlers share: each part has an owner of its own.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) node: Name,
    pub(crate) config: Config,
    pub(crate) seat: Arc<Seat>,
    pub(crate) orders: Orders,
    pub(crate) replica: Replica,
    pub(crate) presence: Presence,
    pub(crate) clocks: Clocks,
    pub(crate) sight: Sight,
    pub(crate) spread: Spread,
    pub(crate) degraded: Degraded,
    pub(crate) founding: Founding,
    pub(crate) leases: Leases,
    pub(crate) keys: Keyring,
    pub(crate) verdicts: Judge,
    pub(crate) refusals: Refusals,
    pub(crate) tasks: Tasks,
    pub(crate) drain: CancellationToken,
}

/// A command of the membership as an entry to be ordered.
pub(crate) fn membership(actor: &str, request: &str, command: &Command) -> Result<Draft, Failure> {
    let command = serde_json::to_value(command).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(Draft::new(actor, request, Action::Membership { command }))
}

impl App {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.replica.snapshot()
    }

    /// Has a command decided, and answers the membership in which it is. A caller that goes away meanwhile stops nothing that
    /// was taken.
    async fn command(
        &self,
        command: Command,
        caller: &Caller,
        context: &CallContext,
    ) -> Result<Arc<Snapshot>, Failure> {
        self.seat.has_begun()?;
        let before = self.snapshot();
        let draft = membership(&caller.actor(), &context.id, &command)?;
        let index = self.orders.order_one(draft, context.deadline).await?;
        let after = self.applied(index, context).await?;
        audit::changed(&caller.actor(), &command, &before.state);
        Ok(after)
    }

    /// The membership with everything acknowledged before this call: a token was made at another controller, maybe.
    async fn newest(&self, context: &CallContext) -> Result<Arc<Snapshot>, Failure> {
        let index = self.linear(context.deadline).await?;
        self.applied(index, context).await
    }

    /// Waits until this hub has applied an entry that was ordered, wherever that was.
    async fn applied(&self, index: u64, context: &CallContext) -> Result<Arc<Snapshot>, Failure> {
        let mut position = self.replica.position();
        let reached = position.wait_for(|at| at.index >= index);
        let late = |failure: Failure| failure.changed(acp_base::Change::Partial);
        drop(
            until(context.deadline, "the change, which was made, is not seen here yet: it", reached)
                .await
                .map_err(late)?,
        );
        Ok(self.snapshot())
    }

    /// The node that calls: by its certificate, or this one if its own agent or its root calls.
    fn speaker(snapshot: &Snapshot, caller: &Caller) -> Result<Uid, Failure> {
        match caller.principal() {
            None => snapshot.here(),
            Some(_) => caller.node().ok_or_else(|| {
                Failure::new(
                    Code::PermissionDenied,
                    format!("{} is no node: nodes call this for themselves", caller.actor()),
                )
            }),
        }
    }

    /// A certificate that counts from now on, by the clocks of most voters: by one that is wrong alone it would begin when nobody
    /// else accepts it.
    async fn certify(&self, snapshot: &Snapshot, node: Uid, request: &Request) -> Result<String, Failure> {
        let now = UnixTime::since_unix_epoch(Duration::from_millis(self.time().await.0));
        let validity = Validity { now, life: self.config.certificate_lifetime() };
        let certificate = snapshot.authority()?.sign(request, node, validity).map_err(|error| pki_failure(&error))?;
        metrics::certified();
        Ok(acp_base::to_hex(&certificate.der))
    }

    /// What time it is, as most voters have it: the leader knows. While none is reached, this hub's own clock has to do.
    async fn time(&self) -> WallTime {
        let deadline = Instant::now() + TIME_LIMIT;
        let Ok(leader) = self.seat.leader(deadline).await else { return wall_now() };
        let Some(to) = leader.elsewhere else { return self.time_here().await };
        match self.seat.peers().ask(to, &Ask::Time, deadline).await {
            Ok(Answer::Time(time)) => time,
            _not_told => wall_now(),
        }
    }

    /// The same at the leader.
    async fn time_here(&self) -> WallTime {
        let voters = self.seat.status().borrow().voters.clone();
        self.clocks.now(self.replica.here(), &voters).await
    }

    /// Logs a refusal, of many in a row a few.
    fn log_refusal(&self, caller: &Caller, what: &'static str, node: &str, reason: &Failure) {
        if let Some(unsaid) = self.refusals.admit() {
            tracing::info!(caller = caller.actor(), what, node, %reason, unsaid, "refused");
        }
    }
}

/// Every method of `acp.hub`.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    log_methods(&mut router, app);
    quorum_methods(&mut router, app);
    membership_methods(&mut router, app);
    secret_methods(&mut router, app);
    router
}

fn log_methods(router: &mut Router, app: &Arc<App>) {
    once::<api::Found, _, _>(router, app, seat::found);
    once::<api::Retire, _, _>(router, app, seat::retire);
    once::<api::Prepare, _, _>(router, app, seat::prepare);
    once::<api::Propose, _, _>(router, app, log::propose);
    once::<api::ReadIndex, _, _>(router, app, log::read_index);
    once::<api::RenewSession, _, _>(router, app, session::renew);
    once::<api::SyncKeys, _, _>(router, app, keys::sync);
    once::<api::ReportRing, _, _>(router, app, detect::report_ring);
    once::<api::KeepAlive, _, _>(router, app, detect::keep_alive);
    let shared = Arc::clone(app);
    router.stream::<api::Follow, _, _>(move |call, sink| follow::follow(Arc::clone(&shared), call, sink));
    let shared = Arc::clone(app);
    router.upgrade::<api::Raft, _, _, _, _>(move |call| seat::raft(Arc::clone(&shared), call));
}

fn quorum_methods(router: &mut Router, app: &Arc<App>) {
    once::<api::GetQuorum, _, _>(router, app, quorum::get);
    once::<api::Transfer, _, _>(router, app, quorum::transfer);
    once::<api::SetVoters, _, _>(router, app, quorum::set_voters);
    once::<api::PlanUpgrade, _, _>(router, app, upgrade::plan);
    once::<api::Upgrade, _, _>(router, app, upgrade::upgrade);
    once::<api::Recover, _, _>(router, app, recovery::recover);
    once::<api::Backup, _, _>(router, app, recovery::backup);
    once::<api::Restore, _, _>(router, app, recovery::restore);
}

fn membership_methods(router: &mut Router, app: &Arc<App>) {
    once::<api::GetStatus, _, _>(router, app, nodes::status);
    once::<api::InitCluster, _, _>(router, app, admission::init);
    once::<api::Join, _, _>(router, app, admission::join);
    once::<api::PlanJoin, _, _>(router, app, admission::plan);
    once::<api::RenewCertificate, _, _>(router, app, admission::renew);
    once::<api::Leave, _, _>(router, app, nodes::leave);
    once::<api::ListNodes, _, _>(router, app, view::list);
    once::<api::RemoveNode, _, _>(router, app, nodes::remove);
    once::<api::PlanRemove, _, _>(router, app, nodes::plan_remove);
    once::<api::Rename, _, _>(router, app, members::rename);
    once::<api::Readdress, _, _>(router, app, members::readdress);
    once::<api::AssignDomain, _, _>(router, app, members::assign_domain);
    once::<api::Park, _, _>(router, app, members::park);
    once::<api::Unpark, _, _>(router, app, members::unpark);
    once::<api::ListRoles, _, _>(router, app, members::list_roles);
    once::<api::SetRole, _, _>(router, app, members::set_role);
    once::<api::SetMetadata, _, _>(router, app, members::set_metadata);
    once::<api::ListRequests, _, _>(router, app, requests::list);
    once::<api::Approve, _, _>(router, app, requests::approve);
    once::<api::Reject, _, _>(router, app, requests::reject);
    let shared = Arc::clone(app);
    router.stream::<api::RequestJoin, _, _>(move |call, sink| requests::ask(Arc::clone(&shared), call, sink));
    let shared = Arc::clone(app);
    router.stream::<api::WatchDirectory, _, _>(move |call, sink| watch::watch(Arc::clone(&shared), call, sink));
    let shared = Arc::clone(app);
    router.stream::<api::WatchNodes, _, _>(move |call, sink| view::watch(Arc::clone(&shared), call, sink));
}

fn secret_methods(router: &mut Router, app: &Arc<App>) {
    once::<api::CreateToken, _, _>(router, app, secrets::create_token);
    once::<api::ListTokens, _, _>(router, app, secrets::list_tokens);
    once::<api::RevokeToken, _, _>(router, app, secrets::revoke_token);
    once::<api::CreateKey, _, _>(router, app, secrets::create_key);
    once::<api::ListKeys, _, _>(router, app, secrets::list_keys);
    once::<api::RevokeKey, _, _>(router, app, secrets::revoke_key);
}

fn once<M, H, F>(router: &mut Router, app: &Arc<App>, handler: H)
where
    M: Method,
    H: Fn(Arc<App>, Call<M>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
{
    let app = Arc::clone(app);
    router.once::<M, _, _>(move |call| handler(Arc::clone(&app), call));
}
