//! `acpctl node`.

mod join;
mod members;
mod token;

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    agent::{GetStatus, LeaveCluster, LeaveClusterRequest},
    hub::{RemoveNode, RemoveNodeRequest},
};
use serde_json::json;

use super::cluster::{AGENT, HUB, is_root_here};
use crate::{
    args::{NameArg, NodeVerb},
    root_key,
    session::Session,
};

pub(super) async fn run(session: &mut Session, verb: NodeVerb) -> Result<u8, Failure> {
    match verb {
        NodeVerb::List => members::list(session).await,
        NodeVerb::Show(node) => members::show(session, &node.name).await,
        NodeVerb::Join(arguments) => join::run(session, arguments).await,
        NodeVerb::Leave { force } => leave(session, force).await,
        NodeVerb::Remove(node) => remove(session, node).await,
        NodeVerb::Token(verb) => token::run(session, verb).await,
    }
}

/// Root's key goes with the membership: the next cluster is none of those that shall see it.
async fn leave(session: &mut Session, force: bool) -> Result<u8, Failure> {
    let status = session.call::<GetStatus>(AGENT, Empty {}).await?;
    let Some(cluster) = status.cluster else {
        return Err(Failure::precondition(format!("node {} is in no cluster", status.name)));
    };
    session.confirm(&format!("take node {} out of cluster {}", status.name, cluster.name))?;
    let left = session.call::<LeaveCluster>(AGENT, LeaveClusterRequest { force }).await;
    left.map_err(|failure| hint(failure, force))?;
    if is_root_here(session) {
        root_key::forget(status.root_key_path.as_ref())?;
    }
    let fields = json!({ "name": status.name, "cluster": cluster });
    session.out.done(&format!("node {} has left cluster {}", status.name, cluster.name), &fields)?;
    Ok(crate::DONE)
}

/// Without the control plane a node leaves only if it is told to.
fn hint(mut failure: Failure, force: bool) -> Failure {
    if !force && matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded) {
        failure.message.push_str("; to leave without the control plane, give --force, and remove the node there later");
    }
    failure
}

async fn remove(session: &mut Session, node: NameArg) -> Result<u8, Failure> {
    let name = node.name;
    session
        .confirm(&format!("take node {name} out of the cluster; its certificate and root's key of it count no more"))?;
    session.call::<RemoveNode>(HUB, RemoveNodeRequest { name: name.clone() }).await?;
    session.out.done(&format!("node {name} is removed"), &json!({ "name": name }))?;
    Ok(crate::DONE)
}
