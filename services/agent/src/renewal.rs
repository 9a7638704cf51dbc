//! The certificate, renewed at half of its life and shown without a connection noticing.

use std::{sync::Arc, time::Duration};

use acp_base::Failure;
use acp_io_daemon::new_uid;
use acp_io_link::{Class, Link};
use acp_io_pki::Certificate;
use acp_wire_api::hub::{self, RenewCertificate, RenewCertificateRequest};
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::{
    context::Context,
    dial,
    hub_session::{none, speak},
    limits::{CLOCK_LOOK, HUB_LIMIT, RENEWAL_PAUSE_MAX, RENEWAL_PAUSE_MIN},
    member::Member,
    node::Node,
    speaker::Speaker,
};

/// Renews until the membership ends.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>) {
    let mut pause = RENEWAL_PAUSE_MIN;
    loop {
        wait_until_due(&member).await;
        match renew(&node, &member).await {
            Ok(until_s) => {
                metrics::counter!("acp_agent_renewals_total").increment(1);
                tracing::info!(until_s, "the certificate was renewed");
                // By a clock here that is wrong, each new one is due at once.
                let is_due = member.held.certificate().is_due(UnixTime::now());
                pause = if is_due { (pause * 2).min(RENEWAL_PAUSE_MAX) } else { RENEWAL_PAUSE_MIN };
            }
            Err(failure) => {
                metrics::counter!("acp_agent_renewals_failed_total").increment(1);
                tracing::warn!(reason = %failure, "the certificate was not renewed");
                pause = (pause * 2).min(RENEWAL_PAUSE_MAX);
            }
        }
        // After a success, too: an authority that signs for a moment only is not asked all the time.
        dial::pause(pause).await;
    }
}

/// Waits until the wall clock says that a new certificate ought to be asked for.
async fn wait_until_due(member: &Member) {
    loop {
        let (certificate, now) = (member.held.certificate(), UnixTime::now());
        if certificate.is_due(now) {
            return;
        }
        let left = certificate.renew_at().as_secs().saturating_sub(now.as_secs());
        tokio::time::sleep(Duration::from_secs(left).min(CLOCK_LOOK)).await;
    }
}

/// Has the certificate renewed; answers until when the new one counts.
async fn renew(node: &Node, member: &Arc<Member>) -> Result<u64, Failure> {
    let key = &node.identity.key;
    let request = key.request().map_err(|error| Failure::internal(error.to_string()))?;
    let request = RenewCertificateRequest { signing_request: acp_base::to_hex(request.der()) };
    let counts = member.held.certificate().counts_at(UnixTime::now());
    let mut speaker = if !counts && !member.is_controller() {
        speak_for_renewal(node, member).await?
    } else {
        speak(node, member).await?
    };
    let id = format!("renewal-{}", new_uid().tail(8));
    let reply = speaker.call::<RenewCertificate>(&request, &id, HUB_LIMIT).await?;
    let certificate = read(&reply.certificate)?;
    let until = certificate.not_after.as_secs();
    member.renew(key, certificate).await.map_err(|error| Failure::internal(crate::sentence(&error)))?;
    Ok(until)
}

/// The certificate that the hub has sent.
pub(crate) fn read(text: &str) -> Result<Certificate, Failure> {
    let der = acp_base::from_hex(text).map(CertificateDer::from);
    der.and_then(|der| Certificate::read(der).ok())
        .ok_or_else(|| Failure::internal("the hub has sent a certificate that cannot be read"))
}

/// The one conversation that the control plane holds with a node whose certificate does not count.
async fn speak_for_renewal(node: &Node, member: &Arc<Member>) -> Result<Speaker, Failure> {
    let mut failure = none();
    for to in member.controllers() {
        match speak_for_renewal_to(node, member, &to).await {
            Ok(speaker) => return Ok(speaker),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn speak_for_renewal_to(node: &Node, member: &Arc<Member>, to: &hub::Member) -> Result<Speaker, Failure> {
    let tasks = &node.context.tasks;
    let unreached = |error| dial::Unreached::of(error, to).failure;
    let stream = dial::stream(member, to, Class::Renewal).await?;
    let link = Link::over(stream, tasks).await.map_err(unreached)?;
    let context = Context { node: Some(to.uid), ..Context::default() };
    let conversation = link.open(&context.opening("hub", None), HUB_LIMIT).await.map_err(unreached)?;
    Speaker::over(conversation, &format!("the hub on {}", to.name), tasks)
}
