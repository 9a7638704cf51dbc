//! From the wire to the membership and back; no decisions.

mod admission;
mod nodes;
mod secrets;
mod watch;

use std::{future::Future, sync::Arc, time::Duration};

use acp_base::{Code, Failure, Uid};
use acp_core_membership::Command;
use acp_io_daemon::{Call, Caller, Refusals, Router};
use acp_io_pki::{Request, Validity, to_hex};
use acp_wire_api::{Method, hub as api};
use rustls::pki_types::UnixTime;
use tokio::sync::{mpsc, oneshot, watch as channel};

use crate::{
    error::{ChangeError, pki_failure},
    metrics,
    presence::Presence,
    service::{Asked, Work},
    snapshot::Snapshot,
};

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct App {
    snapshots: channel::Receiver<Arc<Snapshot>>,
    asked: mpsc::Sender<Asked>,
    presence: Presence,
    certificate_lifetime: Duration,
    refusals: Refusals,
}

impl App {
    pub(crate) fn new(
        snapshots: channel::Receiver<Arc<Snapshot>>,
        asked: mpsc::Sender<Asked>,
        presence: Presence,
        certificate_lifetime: Duration,
    ) -> Self {
        Self { snapshots, asked, presence, certificate_lifetime, refusals: Refusals::default() }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Has a change made; it is made whole even if its caller goes away meanwhile.
    async fn ask(&self, work: Work, caller: &Caller) -> Result<Arc<Snapshot>, ChangeError> {
        let ending = || Failure::unavailable("the hub is ending");
        let (answer, answered) = oneshot::channel();
        let asked = Asked { work, actor: caller.actor(), answer };
        self.asked.send(asked).await.map_err(|_unsent| ending())?;
        answered.await.map_err(|_dropped| ending().changed(acp_base::Change::Unknown))?
    }

    async fn command(&self, command: Command, caller: &Caller) -> Result<Arc<Snapshot>, Failure> {
        Ok(self.ask(Work::Command(command), caller).await?)
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

    fn certify(&self, snapshot: &Snapshot, node: Uid, request: &Request) -> Result<String, Failure> {
        let validity = Validity { now: UnixTime::now(), life: self.certificate_lifetime };
        let certificate = snapshot.authority()?.sign(request, node, validity).map_err(|error| pki_failure(&error))?;
        metrics::certified();
        Ok(to_hex(&certificate.der))
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
    once::<api::GetStatus, _, _>(&mut router, app, nodes::status);
    once::<api::InitCluster, _, _>(&mut router, app, admission::init);
    once::<api::Join, _, _>(&mut router, app, admission::join);
    once::<api::PlanJoin, _, _>(&mut router, app, admission::plan);
    once::<api::RenewCertificate, _, _>(&mut router, app, admission::renew);
    once::<api::Leave, _, _>(&mut router, app, nodes::leave);
    once::<api::ListNodes, _, _>(&mut router, app, nodes::list);
    once::<api::RemoveNode, _, _>(&mut router, app, nodes::remove);
    once::<api::CreateToken, _, _>(&mut router, app, secrets::create_token);
    once::<api::ListTokens, _, _>(&mut router, app, secrets::list_tokens);
    once::<api::RevokeToken, _, _>(&mut router, app, secrets::revoke_token);
    once::<api::CreateKey, _, _>(&mut router, app, secrets::create_key);
    once::<api::ListKeys, _, _>(&mut router, app, secrets::list_keys);
    once::<api::RevokeKey, _, _>(&mut router, app, secrets::revoke_key);
    let shared = Arc::clone(app);
    router.stream::<api::WatchDirectory, _, _>(move |call, sink| watch::watch(Arc::clone(&shared), call, sink));
    router
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
