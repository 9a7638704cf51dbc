//! The control plane, as this node hears it: a watch on the directory that is always open. As long as it is, the node is
//! online for the others.

use std::sync::Arc;

use acp_base::Failure;
use acp_io_link::Class;
use acp_wire_api::hub::{self, WatchDirectory, WatchDirectoryRequest};
use tokio::time::timeout;

use crate::{
    context::Context,
    dial,
    limits::{HUB_LIMIT, HUB_SILENCE_MAX, PAUSE_MIN},
    member::Member,
    node::Node,
    route::{self, Limits},
    socket,
    speaker::Speaker,
};

/// Follows the directory until the membership ends.
pub(crate) async fn run(node: Arc<Node>, member: Arc<Member>) {
    let mut pause = PAUSE_MIN;
    loop {
        let heard = member.heard();
        let Err(failure) = follow(&node, &member).await;
        if member.heard() != heard {
            // It was there: whatever ended this is new.
            pause = PAUSE_MIN;
            tracing::warn!(reason = %failure, "the control plane is not heard any more");
        } else {
            tracing::debug!(reason = %failure, "the control plane is not heard");
        }
        dial::pause(pause).await;
        pause = dial::longer(pause);
    }
}

/// Follows the directory until the hub falls silent.
async fn follow(node: &Node, member: &Arc<Member>) -> Result<std::convert::Infallible, Failure> {
    let mut speaker = speak(node, member).await?;
    let known = Some(member.directory().revision);
    speaker.ask::<WatchDirectory>(&WatchDirectoryRequest { known }).await?;
    loop {
        let silent = |_late| Failure::unavailable(format!("the hub was silent for {} ms", HUB_SILENCE_MAX.as_millis()));
        let reply = timeout(HUB_SILENCE_MAX, speaker.next::<WatchDirectory>()).await.map_err(silent)??;
        member.hear();
        if let Some(directory) = reply.directory {
            let revision = directory.revision;
            let kept = member.adopt(directory).await;
            tracing::debug!(revision, "a newer directory");
            let trouble = kept.err().map(|error| format!("the directory cannot be kept: {error}"));
            if let Some(trouble) = &trouble {
                tracing::error!(trouble, "the directory cannot be kept");
            }
            node.troubles.set("directory", trouble);
        }
    }
}

/// A conversation of this agent's own with the hub: its socket here, or the control link to the node that has it.
pub(crate) async fn speak(node: &Node, member: &Arc<Member>) -> Result<Speaker, Failure> {
    let controller = controller(member)?;
    if controller.uid == member.me {
        return socket::connect(node, "hub", None).await;
    }
    let context = Context { node: Some(controller.uid), ..Context::default() };
    let limits = Limits { time: HUB_LIMIT, has_other_way: false };
    let opening = context.opening("hub", None);
    let opened = route::directly(node, member, &controller, Class::Control, &opening, limits).await?;
    Speaker::over(opened.conversation, &format!("the hub on {}", controller.name), &node.context.tasks)
}

/// The member that runs the control plane.
pub(crate) fn controller(member: &Member) -> Result<hub::Member, Failure> {
    member.controller().ok_or_else(|| Failure::unavailable("no member of the cluster runs the control plane"))
}
