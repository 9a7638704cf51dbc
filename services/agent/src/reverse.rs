//! The link that this node keeps to the control plane's, so that it is reached even where it cannot be dialled.

use std::sync::Arc;

use acp_io_link::{Class, serve};
use acp_io_pki::Certificate;

use crate::{dial, limits::PAUSE_MIN, member::Member, node::Node, visitor::Visitor};

/// Keeps it until the membership ends. The control plane's own node needs none.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>) {
    let mut pause = PAUSE_MIN;
    loop {
        if let Some(controller) = member.controller().filter(|controller| controller.uid != member.me) {
            match dial::stream(&member, &controller, Class::Reverse).await {
                Ok(stream) => {
                    pause = PAUSE_MIN;
                    // Opened by the other side, taken here as if it had come through the door.
                    let shown = stream.get_ref().1.peer_certificates().and_then(|shown| shown.first());
                    let peer = shown.and_then(|der| Certificate::read(der.clone().into_owned()).ok());
                    let entered = member.peers.enter(Some(controller.uid), Class::Reverse);
                    let (Some(peer), Ok(place)) = (peer, entered) else { continue };
                    let over = place.over.clone();
                    let visitor = Visitor::new(
                        Arc::clone(&node),
                        Arc::clone(&member),
                        Class::Reverse,
                        Some(peer),
                        &controller.address,
                        place,
                    );
                    let (tasks, drain) = (node.context.tasks.clone(), node.context.drain.clone());
                    tokio::select! {
                        () = over.cancelled() => {}
                        served = serve(stream, Arc::new(visitor), tasks, drain) => {
                            if let Err(error) = served {
                                tracing::debug!(%error, "the reverse link has ended");
                            }
                        }
                    }
                }
                Err(unreached) => tracing::debug!(reason = %unreached.failure, "no reverse link"),
            }
        }
        dial::pause(pause).await;
        pause = dial::longer(pause);
    }
}
