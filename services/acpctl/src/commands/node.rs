//! `acpctl node`.

mod ask;
mod join;
mod members;
mod requests;
mod token;
mod watch;

use acp_base::{Code, Failure, Name};
use acp_wire_api::{
    Empty,
    agent::{GetStatus, LeaveCluster, LeaveClusterRequest},
    hub::{Metadata, NodeFilter, NodePlan},
};
use serde_json::json;

use super::cluster::{AGENT, is_root_here};
use crate::{
    args::{ConditionArg, Names, NodeAddress, NodeListArgs, NodeVerb, ValueArg},
    output::to_value,
    root_key,
    session::Session,
};

/// The port of an agent, where an address names none.
const AGENT_PORT: u16 = 9932;

/// The exit status of a plan that cannot be carried out: what doing it would end with.
const CANNOT: u8 = Code::FailedPrecondition.exit_status();

pub(super) async fn run(session: &mut Session, verb: NodeVerb) -> Result<u8, Failure> {
    match verb {
        NodeVerb::List(arguments) => list(session, *arguments).await,
        NodeVerb::Show(node) => members::show(session, &node.name).await,
        NodeVerb::Join(arguments) => join::run(session, arguments).await,
        NodeVerb::Rejoin(arguments) => join::again(session, arguments).await,
        NodeVerb::Leave { force } => leave(session, force).await,
        NodeVerb::Remove { name, plan: false } => remove(session, name).await,
        NodeVerb::Remove { name, plan: true } => plan_remove(session, name).await,
        NodeVerb::Rename { name, to } => rename(session, name, to).await,
        NodeVerb::Readdress { name, address } => readdress(session, name, &address).await,
        NodeVerb::Set { name, values, unset } => set(session, name, values, unset).await,
        NodeVerb::Park(node) => park(session, node.name).await,
        NodeVerb::Unpark(node) => {
            session.acp().nodes().unpark(node.name.clone()).await?;
            done(session, &node.name, "is expected again")
        }
        NodeVerb::Requests => requests::list(session).await,
        NodeVerb::Approve { id } => requests::approve(session, &id).await,
        NodeVerb::Reject { id } => requests::reject(session, &id).await,
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

async fn remove(session: &mut Session, name: Name) -> Result<u8, Failure> {
    session
        .confirm(&format!("take node {name} out of the cluster; its certificate and root's key of it count no more"))?;
    session.acp().nodes().remove(name.clone()).await?;
    done(session, &name, "is removed")
}

async fn plan_remove(session: &mut Session, name: Name) -> Result<u8, Failure> {
    let plan = session.acp().nodes().plan_remove(name.clone()).await?;
    session.out.done(render(&name, &plan).trim_end(), &to_value(&plan)?)?;
    Ok(if plan.clashes.is_empty() { crate::DONE } else { CANNOT })
}

/// What stands against it comes first.
fn render(name: &Name, plan: &NodePlan) -> String {
    let clashes = plan.clashes.iter().map(|clash| format!("cannot remove {name}: {clash}\n"));
    let effects = plan.effects.iter().map(|effect| format!("{effect}\n"));
    let text: String = clashes.chain(effects).collect();
    if text.is_empty() { format!("node {name} would be removed, and nothing else would change\n") } else { text }
}

async fn rename(session: &mut Session, name: Name, to: Name) -> Result<u8, Failure> {
    session.acp().nodes().rename(name.clone(), to.clone()).await?;
    session.out.done(&format!("node {name} is called {to} now"), &json!({ "name": to, "was": name }))?;
    Ok(crate::DONE)
}

async fn readdress(session: &mut Session, name: Name, address: &NodeAddress) -> Result<u8, Failure> {
    let address = address.with_port(AGENT_PORT);
    session.acp().nodes().readdress(name.clone(), address.clone()).await?;
    session
        .out
        .done(&format!("node {name} is reached at {address} now"), &json!({ "name": name, "address": address }))?;
    Ok(crate::DONE)
}

async fn list(session: &mut Session, arguments: NodeListArgs) -> Result<u8, Failure> {
    let NodeListArgs { online, controller, parked, role, service, conditions, follow } = arguments;
    let metadata = conditions.into_iter().map(|ConditionArg(condition)| condition).collect();
    let filter = NodeFilter { online, controller, parked, role, service, metadata };
    if follow { watch::follow(session, filter).await } else { members::list(session, filter).await }
}

async fn set(session: &mut Session, name: Name, values: Vec<ValueArg>, unset: Option<Names>) -> Result<u8, Failure> {
    let mut set = Metadata::default();
    for ValueArg(key, value) in values {
        if set.0.contains_key(&key) {
            return Err(Failure::invalid(format!("{key} is given twice: leave one of them out")));
        }
        set.0.insert(key, value);
    }
    let unset = unset.map(|Names(names)| names).unwrap_or_default();
    session.acp().nodes().set_metadata(name.clone(), set, unset).await?;
    done(session, &name, "is set")
}

async fn park(session: &mut Session, name: Name) -> Result<u8, Failure> {
    session.acp().nodes().park(name.clone()).await?;
    done(session, &name, "is set aside; acpctl node unpark expects it again")
}

fn done(session: &mut Session, name: &Name, what: &str) -> Result<u8, Failure> {
    session.out.done(&format!("node {name} {what}"), &json!({ "name": name }))?;
    Ok(crate::DONE)
}
