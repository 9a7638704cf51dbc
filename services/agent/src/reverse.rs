//! The links that this node keeps to every controller, so that it is reached even where it cannot be dialled.

use std::{collections::BTreeMap, sync::Arc};

use acp_base::Uid;
use acp_io_link::{Class, serve};
use acp_io_pki::Certificate;
use acp_wire_api::hub;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    dial,
    limits::{PAUSE_MIN, REVERSE_MAX},
    member::Member,
    node::Node,
    visitor::Visitor,
};

/// Keeps them until the membership ends, one to each controller that the directory names.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>) {
    let mut directories = member.watch();
    let mut kept = BTreeMap::<Uid, DropGuard>::new();
    loop {
        let others: Vec<Uid> = {
            let directory = directories.borrow_and_update();
            let is_other = |to: &&hub::Member| to.controller && to.uid != member.me;
            directory.nodes.iter().filter(is_other).map(|to| to.uid).take(REVERSE_MAX).collect()
        };
        kept.retain(|uid, _guard| others.contains(uid));
        for uid in others {
            kept.entry(uid).or_insert_with(|| begin(&node, &member, uid));
        }
        if directories.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps one until its guard is dropped.
fn begin(node: &Arc<Node>, member: &Arc<Member>, uid: Uid) -> DropGuard {
    let over = CancellationToken::new();
    let (keeping, until) = (keep(Arc::clone(node), Arc::clone(member), uid), over.clone());
    node.context.tasks.spawn("reverse link", async move {
        tokio::select! {
            () = until.cancelled() => {}
            () = keeping => {}
        }
    });
    over.drop_guard()
}

async fn keep(node: Arc<Node>, member: Arc<Member>, uid: Uid) {
    let mut pause = PAUSE_MIN;
    loop {
        if let Some(controller) = member.of(uid)
            && once(&node, &member, &controller).await
        {
            pause = PAUSE_MIN;
        }
        dial::pause(pause).await;
        pause = dial::longer(pause);
    }
}

/// Dials the controller and takes what it opens, until the link ends; answers whether there was one.
async fn once(node: &Arc<Node>, member: &Arc<Member>, controller: &hub::Member) -> bool {
    let stream = match dial::stream(member, controller, Class::Reverse).await {
        Ok(stream) => stream,
        Err(unreached) => {
            tracing::debug!(reason = %unreached.failure, "no reverse link");
            return false;
        }
    };
    // Opened by the other side, taken here as if it had come through the door.
    let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
    let peer = shown.and_then(|der| Certificate::read(der.clone().into_owned()).ok());
    let entered = member.peers.enter(Some(controller.uid), Class::Reverse);
    let (Some(peer), Ok(place)) = (peer, entered) else { return false };
    let over = place.over.clone();
    let (own, address) = (Arc::clone(member), controller.address.as_str());
    let visitor = Visitor::new(Arc::clone(node), own, Class::Reverse, Some(peer), address, place);
    let (tasks, drain) = (node.context.tasks.clone(), node.context.drain.clone());
    tokio::select! {
        () = over.cancelled() => {}
        served = serve(stream, Arc::new(visitor), tasks, drain) => {
            if let Err(error) = served {
                tracing::debug!(%error, "the reverse link has ended");
            }
        }
    }
    true
}
