//! What this node asks its own cluster service: who it is, what it would bring along, and to follow another log or none.
//!
//! **Invariant**: membership comes first and the database follows it: a member whose database has not entered the cluster's log
//! says so and goes on trying, and so does a node that has left and whose database has not parted.

use std::sync::Arc;

use acp_base::{Code, Failure, Name, Uid};
use acp_io_failpoint::point;
use acp_wire_api::{
    Empty,
    cluster::{
        ControllerKey, Enter, EnterReply, EnterRequest, GetStatus, List, ListRequest, Part, Selector, SelectorOp,
        Status,
    },
    hub::Directory,
};
use acp_wire_model::Kind;
use tokio::time::Instant;

use crate::{
    dial,
    limits::{CLUSTER_LIMIT, ENTER_LIMIT, ENTER_PATIENCE, PAUSE_MIN, SYSTEMS_MAX},
    member::{Member, blocking},
    node::Node,
    persist::Record,
    socket,
};

/// The noun of the cluster service.
const CLUSTER: &str = "cluster";

/// What the cluster service says of itself and this node.
pub(crate) async fn status(node: &Node) -> Result<Status, Failure> {
    let mut cluster = socket::connect(node, CLUSTER, None).await?;
    cluster.call::<GetStatus>(&Empty {}, "identity", CLUSTER_LIMIT).await
}

/// The names of the systems that this node would bring into a cluster: those that its own log, or this member, has declared here.
pub(crate) async fn systems(node: &Node) -> Result<Vec<Name>, Failure> {
    let here = |name: Name| Selector { path: "spec.node".into(), op: SelectorOp::Eq, value: name.to_string() };
    let selectors = node.member().map(|_member| here(node.name())).into_iter().collect();
    let request = ListRequest { kind: Some(Kind::System), selectors, min_index: None, here: Some(true) };
    let mut cluster = socket::connect(node, CLUSTER, None).await?;
    let replies = cluster.all::<List>(&request, CLUSTER_LIMIT).await?;
    let names = replies.into_iter().flat_map(|reply| reply.objects).map(|object| object.name.parse::<Name>());
    let names: Vec<Name> = names
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::internal(format!("a system's name is none: {error}")))?;
    if names.len() > SYSTEMS_MAX {
        let text = format!("this node has {} systems, and one that joins brings at most {SYSTEMS_MAX}", names.len());
        return Err(Failure::precondition(text));
    }
    Ok(names)
}

/// Has the cluster service enter the log of this node's cluster, unless it has. The same again goes on where it was interrupted.
pub(crate) async fn enter(node: &Node, member: &Arc<Member>) -> Result<(), Failure> {
    let _entering = member.entering.lock().await;
    if member.has_entered().await {
        return Ok(());
    }
    let request = entering(&member.directory(), member.me)?;
    let mut cluster = socket::connect(node, CLUSTER, None).await?;
    point("agent.enter.before")?;
    let reply = cluster.call::<Enter>(&request, "enter", ENTER_LIMIT).await?;
    point("agent.enter.done")?;
    log(member, &reply);
    member.entered().await.map_err(|error| Failure::unavailable(format!("that cannot be kept: {error}")))
}

/// The same for a node that has just become a member, whom controllers may have to read of first.
pub(crate) async fn enter_first(node: &Node, member: &Arc<Member>) -> Result<(), Failure> {
    let until = Instant::now() + ENTER_PATIENCE;
    let mut pause = PAUSE_MIN;
    loop {
        match enter(node, member).await {
            Err(failure) if failure.code == Code::Unavailable && Instant::now() < until => {
                dial::pause(pause).await;
                pause = dial::longer(pause);
            }
            settled => return settled,
        }
    }
}

fn entering(directory: &Directory, me: Uid) -> Result<EnterRequest, Failure> {
    let controllers = directory.nodes.iter().filter(|node| node.controller && !node.checkpoint_key.is_empty());
    let key = |node: &acp_wire_api::hub::Member| ControllerKey {
        uid: node.uid,
        name: node.name.clone(),
        key: node.checkpoint_key.clone(),
    };
    let controllers: Vec<ControllerKey> = controllers.map(key).collect();
    if controllers.is_empty() {
        return Err(Failure::unavailable("no controller has a checkpoint key yet"));
    }
    Ok(EnterRequest { cluster: directory.cluster.uid, epoch: directory.epoch.clone(), node: me, controllers })
}

fn log(member: &Member, reply: &EnterReply) {
    let EnterReply { index, taken, orphans } = reply;
    tracing::info!(cluster = %member.cluster.name, index, taken, "the database has entered the cluster's log");
    for orphan in orphans {
        tracing::warn!(orphan, "an object was not taken along, and its guest goes on as an orphan");
    }
}

/// Enters for a member that was interrupted, or whose cluster service was away, until that succeeds.
pub(crate) async fn keep_entering(node: Arc<Node>, member: Arc<Member>) {
    let mut pause = PAUSE_MIN;
    while let Err(failure) = enter(&node, &member).await {
        tracing::warn!(reason = %failure, "the database has not entered the cluster's log");
        let text = format!("the database has not entered the cluster's log: {failure}");
        node.troubles.set("database", Some(text));
        dial::pause(pause).await;
        pause = dial::longer(pause);
    }
    node.troubles.set("database", None);
}

/// Has the cluster service go on alone after this node has left a cluster, if it has not, and takes the id of the next membership.
pub(crate) async fn part(node: &Node) -> Result<(), Failure> {
    let unreadable = |error| Failure::internal(format!("what is left of the membership cannot be read: {error}"));
    let Some(left) = node.store.left().map_err(unreadable)? else { return Ok(()) };
    let gone = left_as(&left);
    // With another id than the membership's it has parted; with the same one it is told again, which changes nothing if it has.
    if gone.is_none() || Some(status(node).await?.node_uid) == gone {
        let mut cluster = socket::connect(node, CLUSTER, None).await?;
        let reply = cluster.call::<Part>(&Empty {}, "part", ENTER_LIMIT).await?;
        tracing::info!(index = reply.index, taken = reply.taken, "the database goes on alone");
    }
    point("agent.leave.parted")?;
    node.identify(status(node).await?.node_uid);
    let store = node.store.clone();
    let forgotten = blocking(move || store.forget()).await;
    forgotten.map_err(|error| Failure::unavailable(format!("the membership cannot be forgotten: {error}")))
}

/// Under which id the node was a member.
fn left_as(record: &Record) -> Option<Uid> {
    crate::renewal::read(&record.certificate).ok().map(|certificate| certificate.identity.node)
}

/// Parts for a node that was interrupted while it left, until that succeeds.
pub(crate) async fn keep_parting(node: Arc<Node>) {
    let mut pause = PAUSE_MIN;
    loop {
        let Err(failure) = ({
            let _changing = node.changing.lock().await;
            part(&node).await
        }) else {
            return node.troubles.set("database", None);
        };
        tracing::warn!(reason = %failure, "the database has not parted from the cluster's log");
        let text = format!("the database has not parted from the cluster that this node has left: {failure}");
        node.troubles.set("database", Some(text));
        dial::pause(pause).await;
        pause = dial::longer(pause);
    }
}
