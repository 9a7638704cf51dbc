//! The way to another node: its link, or one that it has opened itself.

use std::{sync::Arc, time::Duration, time::Instant};

use acp_base::Failure;
use acp_io_link::{Class, Conversation, LinkError, Opening};
use acp_wire_api::{agent::Hop, hub};

use crate::{
    context::{Answer, hop},
    dial::Unreached,
    limits::DIRECT_LIMIT,
    member::Member,
    node::Node,
};

/// A conversation that was opened, with the way to it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) conversation: Conversation,
    pub(crate) hops: Vec<Hop>,
}

impl Opened {
    fn new(conversation: Conversation, first: Hop) -> Self {
        let mut hops = vec![first];
        hops.extend(Answer::of(&conversation).hops);
        Self { conversation, hops }
    }
}

/// Opens a conversation over the link of this class that this node dials.
pub(crate) async fn directly(
    node: &Node,
    member: &Arc<Member>,
    to: &hub::Member,
    class: Class,
    opening: &Opening,
    limits: Limits,
) -> Result<Opened, Unreached> {
    let started = Instant::now();
    let time = if limits.has_other_way { limits.time.min(DIRECT_LIMIT) } else { limits.time };
    let deadline = started + time;
    loop {
        let linked = member.pool.link(member, to, class, &node.context.tasks, limits.has_other_way);
        let late = |_late| Err(Unreached::of(LinkError::TimedOut(crate::millis(time)), to));
        let way = tokio::time::timeout_at(deadline.into(), linked).await.unwrap_or_else(late)?;
        let first = hop(&to.name, "agent", if way.was_dialled { "dialled" } else { "link" }, started);
        match way.link.open(opening, deadline.saturating_duration_since(Instant::now())).await {
            Ok(conversation) => return Ok(Opened::new(conversation, first)),
            // The link had ended without this side having heard of it: nothing was said there, so it is safe to dial anew.
            Err(LinkError::Closed) if !way.was_dialled && Instant::now() < deadline => {
                member.pool.forget(to.uid, class);
            }
            Err(error) => return Err(Unreached::of(error, to)),
        }
    }
}

/// How long an opening may take, and whether the caller has another way to try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) has_other_way: bool,
}

/// Opens a conversation over the link that the node has opened to this one; nothing if there is none.
pub(crate) async fn backwards(
    member: &Member,
    to: &hub::Member,
    opening: &Opening,
    time: Duration,
) -> Option<Result<Opened, Failure>> {
    let started = Instant::now();
    let link = member.peers.reverse(to.uid)?;
    let first = hop(&to.name, "agent", "relayed", started);
    let opened = link.open(opening, time).await;
    Some(opened.map(|conversation| Opened::new(conversation, first)).map_err(|error| Unreached::of(error, to).failure))
}
