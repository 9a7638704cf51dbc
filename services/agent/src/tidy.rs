//! What is looked at all the time: idle links, and how the membership is.

use std::{sync::Arc, time::Duration};

use acp_io_daemon::wall_now;

use crate::{
    limits::{HUB_MISSED, TIDY_PERIOD},
    member::Member,
    node::Node,
};

/// With less than this left of its certificate, the node says that renewal does not succeed: it began a day ago.
const LIFE_SHORT: Duration = Duration::from_secs(6 * 3600);

/// Looks until the membership ends.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>) {
    let mut periods = tokio::time::interval(TIDY_PERIOD);
    periods.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // What has only begun is not missed yet.
    let begun = tokio::time::Instant::now();
    loop {
        periods.tick().await;
        member.pool.tidy();
        node.troubles.set("certificate", certificate(&member));
        node.troubles.set("membership", removal(&member));
        if begun.elapsed() > HUB_MISSED {
            node.troubles.set("hub", silence(&member));
        }
    }
}

fn certificate(member: &Member) -> Option<String> {
    let certificate = member.held.certificate();
    let until = certificate.not_after.as_secs();
    let left = until.saturating_sub(wall_now().0 / 1_000);
    // Short-lived ones are short all their life: half of it is left when they ought to be renewed.
    let half = until.saturating_sub(certificate.renew_at().as_secs());
    match left {
        0 => Some(
            "this node's certificate has expired: other nodes refuse it until the control plane renews it".to_owned(),
        ),
        left if left < LIFE_SHORT.as_secs().min(half / 4) => {
            Some(format!("this node's certificate could not be renewed and counts for {} min", left / 60))
        }
        _ => None,
    }
}

fn silence(member: &Member) -> Option<String> {
    if member.is_removed() {
        return None;
    }
    let names: Vec<String> = member.controllers().iter().map(|controller| controller.name.to_string()).collect();
    let whose = format!("the control plane on {}", names.join(", "));
    match member.heard().map(|heard| heard.elapsed()) {
        Some(since) if since <= HUB_MISSED => None,
        Some(since) => Some(format!("{whose} was not heard for {} s", since.as_secs())),
        None => Some(format!("{whose} was not heard since the agent started")),
    }
}

/// A node that was taken out runs what it runs until somebody decides.
fn removal(member: &Member) -> Option<String> {
    let name = &member.cluster.name;
    member.is_removed().then(|| {
        format!(
            "this node was removed from cluster {name} and keeps its systems: bring it back (acpctl node rejoin) or let it go \
             on alone (acpctl node leave)"
        )
    })
}
