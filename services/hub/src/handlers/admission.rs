//! How nodes come in and stay: the first one, those with a token, and new certificates.

use std::sync::Arc;

use acp_base::{Code, Failure, Uid};
use acp_core_membership::{Command, Digest};
use acp_io_daemon::{Call, Caller};
use acp_io_pki::Request;
use acp_wire_api::{hub as api, principal::PrincipalKind};

use super::App;
use crate::{
    error::{ChangeError, rejected},
    metrics,
    newcomer::{Presented, digest, signing_request},
    service::Work,
    snapshot::Snapshot,
};

pub(super) async fn init(app: Arc<App>, call: Call<api::InitCluster>) -> Result<api::Admitted, Failure> {
    let Presented { node, request } = Presented::read(call.request.node)?;
    let uid = node.uid;
    let snapshot = app.ask(Work::Init { name: call.request.cluster, node }, &call.caller).await?;
    app.admitted(&snapshot, uid, &request)
}

pub(super) async fn join(app: Arc<App>, call: Call<api::Join>) -> Result<api::Admitted, Failure> {
    let name = call.request.node.name.clone();
    match app.try_join(call.request, &call.caller).await {
        Ok(admitted) => {
            metrics::admitted();
            Ok(admitted)
        }
        Err(error) => {
            metrics::join_refused(error.label());
            let failure = Failure::from(error);
            app.log_refusal(&call.caller, "join", name.as_str(), &failure);
            Err(failure)
        }
    }
}

pub(super) async fn plan(app: Arc<App>, call: Call<api::PlanJoin>) -> Result<api::JoinPlan, Failure> {
    let token = Digest::of(call.request.token.as_bytes());
    let presented = Presented::read(call.request.node)?;
    let snapshot = app.snapshot();
    let now_ms = acp_io_daemon::wall_now().0;
    let plan = snapshot.state.plan_join(&token, &presented.node, now_ms).map_err(|rejection| rejected(&rejection))?;
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
    Ok(api::Certified { certificate: app.certify(&snapshot, node, &request)? })
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
    async fn try_join(&self, request: api::JoinRequest, caller: &Caller) -> Result<api::Admitted, ChangeError> {
        let token = Digest::of(request.token.as_bytes());
        let Presented { node, request } = Presented::read(request.node)?;
        let uid = node.uid;
        let snapshot = self.ask(Work::Command(Command::Join { token, node }), caller).await?;
        Ok(self.admitted(&snapshot, uid, &request)?)
    }

    fn admitted(&self, snapshot: &Snapshot, node: Uid, request: &Request) -> Result<api::Admitted, Failure> {
        let certificate = self.certify(snapshot, node, request)?;
        Ok(api::Admitted { certificate, directory: snapshot.directory()?.clone() })
    }
}
