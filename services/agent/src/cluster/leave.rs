//! Out of the cluster: the control plane first, then what is kept here.

use std::{sync::Arc, time::Instant};

use acp_base::{Code, Failure};
use acp_io_failpoint::point;
use acp_wire_api::{Empty, agent::LeaveClusterRequest, hub::Leave};

use crate::{
    dial,
    hub_session::{controller, speak},
    limits::{HUB_LIMIT, PAUSE_MIN},
    member::{Member, blocking},
    node::Node,
};

/// Leaves. Whoever is out already, because an earlier call came so far or an operator removed the node, is out.
pub(crate) async fn leave(node: Arc<Node>, request: LeaveClusterRequest) -> Result<Empty, Failure> {
    let _changing = node.changing.lock().await;
    let member = node.member().ok_or_else(|| Failure::precondition("this node is in no cluster"))?;
    match tell(&node, &member).await {
        Ok(()) => {}
        Err(failure)
            if request.force
                && matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded | Code::PermissionDenied) =>
        {
            tracing::warn!(reason = %failure, "leaving without the control plane's knowledge");
        }
        Err(failure) => return Err(failure),
    }
    point("agent.leave.told")?;
    // The next membership's id comes first: a node that forgot the old membership and kept its id could enter no cluster.
    let renewing = Arc::clone(&node);
    let renewed = blocking(move || renewing.identity.renew()).await;
    let forgotten = match renewed {
        Ok(()) => member.leave().await,
        Err(error) => Err(error),
    };
    forgotten.map_err(|error| {
        Failure::unavailable(format!("the membership cannot be forgotten: {error}; repeat the call"))
            .changed(acp_base::Change::Partial)
    })?;
    node.end();
    tracing::info!(cluster = %member.cluster.name, "left the cluster");
    Ok(Empty {})
}

/// Tells the hub. Its node cuts off whoever has left, at times before the answer is read: then it says so the next time.
async fn tell(node: &Node, member: &Arc<Member>) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let told = match speak(node, member).await {
            Ok(mut hub) => hub.call::<Leave>(&Empty {}, "leave", HUB_LIMIT).await.map(drop),
            Err(failure) => Err(failure),
        };
        let failure = match told {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if is_out(node, member).await {
            return Ok(());
        }
        let may_pass = failure.code == Code::Unavailable && failure.changed == acp_base::Change::Unknown;
        if !may_pass || started.elapsed() >= HUB_LIMIT {
            return Err(failure);
        }
        dial::pause(PAUSE_MIN).await;
    }
}

/// Whether the control plane's node turns this one away as removed.
async fn is_out(node: &Node, member: &Arc<Member>) -> bool {
    let Ok(controller) = controller(member) else { return false };
    let link = dial::link(member, &controller, acp_io_link::Class::Control, &node.context.tasks).await;
    link.is_err_and(|unreached| unreached.is_removed)
}
