//! How nodes come in and stay: the first one, those with a token, and new certificates.

use std::sync::Arc;

use acp_base::{Code, Failure, Uid, to_hex};
use acp_core_membership::{Command, Digest};
use acp_io_daemon::{Call, CallContext, Caller};
use acp_io_failpoint::point;
use acp_io_pki::{Authority, Request};
use acp_wire_api::{hub as api, principal::PrincipalKind};
use rustls::pki_types::UnixTime;

use super::App;
use crate::{
    error::{rejected, unusable},
    metrics,
    newcomer::{Presented, digest, signing_request},
    seat::{blocking, no_log},
    snapshot::Snapshot,
};

pub(super) async fn init(app: Arc<App>, call: Call<api::InitCluster>) -> Result<api::Admitted, Failure> {
    let Presented { node, request } = Presented::read(call.request.node)?;
    let uid = node.uid;
    let (cluster, authority) = app.make_authority().await?;
    let authority = to_hex(authority.certificate());
    let made = Command::Init { cluster, name: call.request.cluster, authority, node };
    let key = Command::SetController { node: uid, checkpoint_key: Some(app.founding.key.public()) };
    app.command(made, &call.caller, &call.context).await?;
    let snapshot = app.command(key, &call.caller, &call.context).await?;
    // A new cluster begins at the newest level, whatever this node's log was begun with.
    if let Err(failure) = app.upgrade(&call.caller.actor(), &call.context).await {
        tracing::warn!(reason = %failure, "the cluster begins at an earlier feature level");
    }
    app.admitted(&snapshot, uid, &request).await
}

pub(super) async fn join(app: Arc<App>, call: Call<api::Join>) -> Result<api::Admitted, Failure> {
    let name = call.request.node.name.clone();
    match app.try_join(call.request, &call.caller, &call.context).await {
        Ok(admitted) => {
            metrics::admitted();
            Ok(admitted)
        }
        Err(failure) => {
            metrics::join_refused(failure.code.name());
            app.log_refusal(&call.caller, "join", name.as_str(), &failure);
            Err(failure)
        }
    }
}

pub(super) async fn plan(app: Arc<App>, call: Call<api::PlanJoin>) -> Result<api::JoinPlan, Failure> {
    let token = Digest::of(call.request.token.as_bytes());
    let presented = Presented::read(call.request.node)?;
    let snapshot = app.newest(&call.context).await?;
    let now_ms = acp_io_daemon::wall_now().0;
    let planned = app.replica.read(|state| state.plan_rejoin(&token, &presented.node, now_ms));
    let plan = planned.map_err(|rejection| rejected(&rejection))?;
    let directory = snapshot.directory()?;
    Ok(api::JoinPlan {
        cluster: directory.cluster.clone(),
        nodes: u64::try_from(directory.nodes.len()).unwrap_or(u64::MAX),
        clashes: plan.clashes.iter().map(ToString::to_string).collect(),
        root_key: plan.root_key,
    })
}

pub(super) async fn renew(app: Arc<App>, call: Call<api::RenewCertificate>) -> Result<api::Certified, Failure> {
    let snapshot = app.snapshot();
    let node = App::speaker(&snapshot, &call.caller)?;
    let request = signing_request(&call.request.signing_request)?;
    if let Err(refused) = may_renew(&snapshot, node, &call.caller, &request) {
        metrics::renewal_refused(refused.label);
        app.log_refusal(&call.caller, "renewal", &node.to_string(), &refused.failure);
        return Err(refused.failure);
    }
    Ok(api::Certified { certificate: app.certify(&snapshot, node, &request).await? })
}

/// Why a certificate is not renewed.
struct Refused {
    label: &'static str,
    failure: Failure,
}

impl Refused {
    fn new(label: &'static str, text: String) -> Self {
        Self { label, failure: Failure::new(Code::PermissionDenied, text) }
    }
}

/// A member may, with the key that it joined with, and no other: a certificate that was stolen without its key is worth
/// nothing here, and who has lost the key joins anew.
fn may_renew(snapshot: &Snapshot, node: Uid, caller: &Caller, request: &Request) -> Result<(), Refused> {
    let Some(member) = snapshot.state.members().get(&node) else {
        return Err(Refused::new("no_member", format!("node {node} is no member: it was removed or has left")));
    };
    let other = || {
        let name = &member.name;
        let text = format!("this is not the key that {name} joined with: remove {name}, and let it join again");
        Refused::new("other_key", text)
    };
    let asked = digest(request.key()).map_err(|failure| Refused { label: "failed", failure })?;
    if !snapshot.is_key_of(node, &asked) {
        return Err(other());
    }
    // Its certificate may have expired, and is trusted for nothing else than the key behind it.
    let renewal = caller.principal().filter(|principal| principal.kind == PrincipalKind::Renewal);
    let proved = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok()) == Some(member.key);
    if renewal.is_none_or(|principal| proved(&principal.fingerprint)) { Ok(()) } else { Err(other()) }
}

impl App {
    /// The cluster that this node alone is, and the authority that signs its nodes from now on.
    async fn make_authority(&self) -> Result<(Uid, Arc<Authority>), Failure> {
        // Nobody prepares or retires this hub meanwhile.
        let _seat = self.seat.take().await;
        let cluster = self.replica.position().borrow().cluster.ok_or_else(no_log)?;
        if let Some(authority) = self.replica.authority() {
            return Ok((cluster, authority));
        }
        if let Some(founded) = self.snapshot().state.founded() {
            let founded = founded.name.clone();
            return Err(Failure::precondition(format!(
                "this node is in the cluster {founded}, and is no controller of it"
            )));
        }
        let directory = self.seat.directory();
        let made = blocking(move || Authority::ensure(&directory, cluster, UnixTime::now())).await?;
        let authority = Arc::new(made.map_err(|error| unusable(&error))?);
        point("hub.init.authority-made")?;
        self.replica.set_authority(Some(Arc::clone(&authority)));
        Ok((cluster, authority))
    }

    async fn try_join(
        &self,
        request: api::JoinRequest,
        caller: &Caller,
        context: &CallContext,
    ) -> Result<api::Admitted, Failure> {
        // Who cannot be given a certificate here is not taken in.
        self.snapshot().authority()?;
        let before = self.newest(context).await?;
        let token = Digest::of(request.token.as_bytes());
        let Presented { node, request } = Presented::read(request.node)?;
        let uid = node.uid;
        let command = match before.state.is_gone(uid) {
            true => Command::Rejoin { token, node },
            false => Command::Join { token, node },
        };
        let snapshot = self.command(command, caller, context).await?;
        self.admitted(&snapshot, uid, &request).await
    }

    pub(super) async fn admitted(
        &self,
        snapshot: &Snapshot,
        node: Uid,
        request: &Request,
    ) -> Result<api::Admitted, Failure> {
        let certificate = self.certify(snapshot, node, request).await?;
        Ok(api::Admitted { certificate, directory: snapshot.directory()?.clone() })
    }
}
