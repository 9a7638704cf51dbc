//! Watches of objects.

use acp_base::Failure;
use acp_wire_api::cluster::{Watch, WatchChange, WatchReply, WatchRequest};

use crate::{
    call::Call,
    events::{Events, Rendered},
    operation::Operation,
    parameter,
};

pub(super) fn operations() -> Vec<Operation> {
    let about = "Tells the state of objects first, then every change, as server-sent events.";
    vec![
        Operation::get("/watch", "watchObjects", about, watch)
            .takes(&[&parameter::KINDS, &parameter::STATS])
            .watch()
            .calls::<Watch>()
            .of_node(),
    ]
}

async fn watch(call: Call) -> Result<Events, Failure> {
    let permit = call.app.watches.open(call.identity.as_deref())?;
    let request = WatchRequest {
        kinds: call.kinds()?,
        cursor: call.last_event_id.clone(),
        without_stats: !call.query("stats")?.unwrap_or(false),
        here: None,
    };
    let replies = call.service("cluster").stream::<Watch>(request).await?;
    Events::start(&call, permit, replies, render).await
}

/// Only the last event of a reply has the cursor as its id: whoever loses the connection in between gets all of them again.
fn render(reply: &WatchReply, out: &mut Rendered) {
    let last = reply.events.len().saturating_sub(1);
    for (index, event) in reply.events.iter().enumerate() {
        let id = (index == last).then_some(reply.cursor.as_str());
        let name = match event.change {
            WatchChange::Put => "put",
            WatchChange::Delete => "delete",
            WatchChange::Synced => "synced",
            WatchChange::Resync => "resync",
        };
        match &event.object {
            Some(object) => out.event(name, id, object),
            None => out.event(name, id, &serde_json::json!({})),
        }
    }
}
