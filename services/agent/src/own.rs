//! What the cluster makes of this node, told to who follows it: its name, and the units that its roles keep from it.
//!
//! Deliberately not here: what a unit is, and whether one can be taken away. That is the framework's to know.

use std::{collections::BTreeSet, sync::Arc};

use acp_base::{Failure, Name};
use acp_core_membership::roles;
use acp_io_daemon::Sink;
use acp_wire_api::{
    agent::{WatchNode, WatchNodeReply},
    hub::Directory,
};

use crate::{member::Member, node::Node};

/// Tells it now, and whenever it has changed.
pub(crate) async fn follow(node: Arc<Node>, sink: Sink<WatchNode>) -> Result<WatchNodeReply, Failure> {
    let mut memberships = node.watch();
    let mut said = None;
    loop {
        let member = memberships.borrow_and_update().clone();
        // Followed before it is read: what comes in between is told by the next round.
        let mut directories = member.as_ref().map(|member| member.watch());
        let told = member.map_or_else(|| Some(alone(&node)), |member| listed(&member));
        if let Some(told) = told.filter(|told| said.as_ref() != Some(told)) {
            sink.send(told.clone()).await?;
            said = Some(told);
        }
        let changed = async {
            match &mut directories {
                Some(directories) => drop(directories.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            gone = memberships.changed() => gone.map_err(|_ended| Failure::unavailable("the agent is stopping"))?,
            () = changed => {}
        }
    }
}

fn alone(node: &Node) -> WatchNodeReply {
    WatchNodeReply { node: node.uid(), name: node.context.node.clone(), withheld: Vec::new() }
}

/// Nothing for a node that the directory does not list: it was removed, and keeps what it knew.
fn listed(member: &Member) -> Option<WatchNodeReply> {
    let own = member.of(member.me)?;
    let withheld = withheld(&member.directory(), &own.name);
    Some(WatchNodeReply { node: own.uid, name: own.name, withheld })
}

fn withheld(directory: &Directory, name: &Name) -> Vec<Name> {
    let named: BTreeSet<&Name> = directory.roles.iter().flat_map(|role| &role.units).collect();
    named.into_iter().filter(|unit| !roles::runs(directory, name, unit)).cloned().collect()
}
