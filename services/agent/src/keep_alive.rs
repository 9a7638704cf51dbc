//! This node's word that it lives, to the hub that its session is with: often enough that a silence means something.
//!
//! Deliberately not here: the session itself, and whom it is with (`hub_session.rs`). A hub of a version that does not know the
//! word is not told again: to it silence means nothing.

use std::{convert::Infallible, sync::Arc, time::Duration};

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    hub::{self, KeepAlive},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{dial, hub_session::speak_to, limits::PAUSE_MIN, member::Member, node::Node};

/// How often: four times within the silence after which a node may be held for dead, so that two may be lost.
const PERIOD: Duration = Duration::from_millis(500);

/// How long one may take, the way to the hub included, before it is tried on another conversation.
const LIMIT: Duration = Duration::from_secs(2);

/// Says so again and again, on one conversation as long as that stands.
pub(crate) async fn run(node: &Node, member: &Arc<Member>, with: hub::Member) -> Infallible {
    loop {
        let failure = match on_one_conversation(node, member, &with).await {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        tracing::debug!(controller = %with.name, reason = %failure, "a controller does not hear that this node lives");
        if failure.code == Code::Unimplemented {
            std::future::pending::<()>().await;
        }
        dial::pause(PAUSE_MIN).await;
    }
}

async fn on_one_conversation(node: &Node, member: &Arc<Member>, with: &hub::Member) -> Result<Infallible, Failure> {
    let late = |_late| Failure::unavailable(format!("the hub on {} was not reached in time", with.name));
    let mut speaker = timeout(LIMIT, speak_to(node, member, with)).await.map_err(late)??;
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        speaker.call::<KeepAlive>(&Empty {}, "", LIMIT).await?;
    }
}
