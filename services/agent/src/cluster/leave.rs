//! Out of the cluster: the control plane first, then what is kept here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use acp_base::{Code, Failure};
use acp_io_failpoint::point;
use acp_wire_api::{Empty, agent::LeaveClusterRequest, hub::Leave};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    database, dial,
    hub_session::{limit, speak},
    limits::{HUB_LIMIT, PAUSE_MIN},
    member::Member,
    node::Node,
};

/// How long the control plane is asked by a node that leaves whatever it says: an operator waits, and so may an earlier call that
/// was given up.
const FORCED_LIMIT: Duration = Duration::from_secs(5);

/// Leaves. Whoever is out already, because an earlier call came so far or an operator removed the node, is out.
pub(crate) async fn leave(node: Arc<Node>, request: LeaveClusterRequest) -> Result<Empty, Failure> {
    let _changing = node.changing.lock().await;
    let Some(member) = node.member() else {
        // An earlier call may have come so far.
        let unreadable = |error| Failure::internal(format!("what is left of the membership cannot be read: {error}"));
        return match node.store.left().map_err(unreadable)? {
            Some(_left) => part(&node).await,
            None => Err(Failure::precondition("this node is in no cluster")),
        };
    };
    let told = if request.force {
        let late =
            |_late| Err(Failure::unavailable(format!("the control plane has said nothing within {FORCED_LIMIT:?}")));
        timeout(FORCED_LIMIT, tell(&node, &member)).await.unwrap_or_else(late)
    } else {
        tell(&node, &member).await
    };
    match told {
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
    member.leave().await.map_err(|error| {
        Failure::unavailable(format!("the membership cannot be forgotten: {error}; repeat the call"))
            .changed(acp_base::Change::Partial)
    })?;
    node.end();
    tracing::info!(cluster = %member.cluster.name, "left the cluster");
    part(&node).await
}

/// Has the database go on alone.
async fn part(node: &Arc<Node>) -> Result<Empty, Failure> {
    let parted = database::part(node).await;
    if parted.is_err() {
        let (drain, parting) = (node.context.drain.clone(), database::keep_parting(Arc::clone(node)));
        node.context.tasks.spawn("parting", async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = parting => {}
            }
        });
    }
    parted.map(|()| Empty {}).map_err(|failure| {
        let text = format!("this node has left; its database has not parted from the cluster's log yet: {failure}");
        Failure::new(failure.code, format!("{text}; it goes on trying")).changed(acp_base::Change::Partial)
    })
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

/// Whether this node is out by what it knows, or a controller turns it away as removed.
async fn is_out(node: &Node, member: &Arc<Member>) -> bool {
    if member.is_removed() {
        return true;
    }
    // All at once: whoever leaves without a quorum waits for several that are not there.
    let mut asked = JoinSet::new();
    for controller in member.controllers().into_iter().filter(|controller| controller.uid != member.me) {
        let (member, tasks) = (Arc::clone(member), node.context.tasks.clone());
        asked.spawn(async move {
            let link = dial::link(&member, &controller, acp_io_link::Class::Control, &tasks);
            match timeout(limit(&member).min(HUB_LIMIT), link).await {
                Ok(Ok(_link)) => Some(false),
                Ok(Err(unreached)) if unreached.is_removed => Some(true),
                Ok(Err(_)) | Err(_) => None,
            }
        });
    }
    while let Some(met) = asked.join_next().await {
        if let Ok(Some(is_out)) = met {
            return is_out;
        }
    }
    false
}
