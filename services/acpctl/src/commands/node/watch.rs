//! `acpctl node list --follow`: the members as they are, and then each change of them.

use acp_base::{Failure, WallTime};
use acp_client::NodesNews;
use acp_wire_api::hub::{NodeChange, NodeEvent, NodeFilter, WatchNodesReply};
use serde_json::{Value, json};

use super::members::{of_hub, say_degraded, state};
use crate::{commands::cluster::HUB, error, output::now_ms, session::Session};

/// Prints changes until it is ended.
pub(super) async fn follow(session: &mut Session, filter: NodeFilter) -> Result<u8, Failure> {
    // A node without daemons is said at once; a controller that is gone is waited for.
    session.service(HUB)?;
    let mut watch = session.acp().nodes().watch(filter);
    let mut is_told = false;
    loop {
        match watch.next().await? {
            NodesNews::Told(reply) => {
                is_told = false;
                say_degraded(&reply.degraded, reply.age_ms);
                print(session, &reply)?;
            }
            NodesNews::Lost(failure) => {
                if !is_told {
                    error::say(&format!("watch lost ({failure}); continuing"));
                }
                is_told = true;
            }
        }
    }
}

fn print(session: &mut Session, reply: &WatchNodesReply) -> Result<(), Failure> {
    let now_ms = now_ms();
    for event in &reply.events {
        session.out.item(&line(event, now_ms), &row(event, reply, now_ms))?;
    }
    Ok(())
}

/// The member as it is now, with what has happened to it.
fn row(event: &NodeEvent, reply: &WatchNodesReply, now_ms: u64) -> Value {
    let mut row = of_hub(&event.node, reply.revision, reply.age_ms, now_ms);
    row["change"] = json!(event.change);
    row
}

fn line(event: &NodeEvent, now_ms: u64) -> String {
    let change = match event.change {
        NodeChange::Came => "came",
        NodeChange::Went => "went",
        NodeChange::Online => "online",
        NodeChange::Offline => "offline",
        NodeChange::Changed => "changed",
    };
    let node = &event.node.node;
    let roles: Vec<&str> = node.roles.iter().map(acp_base::Name::as_str).collect();
    let parts = [node.address.clone(), roles.join(","), node.metadata.to_string()];
    let shown: String = parts.iter().filter(|part| !part.is_empty()).map(|part| format!("  {part}")).collect();
    format!("{}  {change:<7}  {}  {}{shown}", WallTime(now_ms), node.name, state(&event.node))
}
