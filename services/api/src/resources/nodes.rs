//! Nodes: the members of the cluster, as this node's agent knows them.

use std::collections::BTreeMap;

use acp_base::{Code, Failure, Name};
use acp_wire_api::{
    Empty,
    agent::{AgentStatus, GetStatus, ListMembers},
    cluster,
    hub::{Judgement, ListNodes, Member, NodeFilter, NodePresence, NodeRequest, RemoveNode, Verdict},
    hypervisor::{GetNode, GetNodeReply},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    answer::{Done, Found, List},
    call::Call,
    limits::PRESENCE_TIMEOUT,
    operation::Operation,
};

pub(super) fn operations() -> Vec<Operation> {
    let mut all = vec![
        Operation::get(
            "/nodes",
            "listNodes",
            "Lists the members of the cluster; this node alone while there is none.",
            list,
        )
        .paged()
        .calls::<ListMembers>(),
        Operation::get("/nodes/{node}", "getNode", "Answers one member.", show).calls::<ListMembers>(),
        Operation::delete("/nodes/{node}", "removeNode", "Takes a member out of the cluster.", remove)
            .calls::<RemoveNode>(),
    ];
    let of_node = [
        Operation::get("/host", "getHost", "Answers what a node can do and how loaded it is.", host).calls::<GetNode>(),
        Operation::get(
            "/agent",
            "getAgent",
            "Answers a node's place in the cluster, its certificate and its links.",
            agent,
        )
        .calls::<GetStatus>(),
        Operation::get("/database", "getDatabase", "Answers the state of a node's cluster database.", database)
            .calls::<cluster::GetStatus>(),
    ];
    all.extend(of_node.map(Operation::of_node));
    all
}

/// A member of the cluster.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    /// The member.
    #[serde(flatten)]
    #[schema(inline)]
    member: Member,
    /// Whether it is online; absent: the control plane does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<bool>,
    /// What the control plane takes it for; absent: it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    /// What the leader concludes from its session, its ring and a question of its own, and why; absent: it is set aside, or
    /// nobody leads who has heard enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    judged: Option<Judgement>,
    /// For how long it has been online or not, in milliseconds; absent: it was not seen since the control plane started.
    #[serde(skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
}

async fn list(call: Call) -> Result<Found<List<Node>>, Failure> {
    let nodes = nodes(&call).await?;
    Ok(Found(List::part(&call, nodes, |node| node.member.name.to_string())?))
}

async fn show(call: Call) -> Result<Found<Node>, Failure> {
    let name: Name = call.path("node")?;
    let found = nodes(&call).await?.into_iter().find(|node| node.member.name == name);
    found.map(Found).ok_or_else(|| Failure::not_found(format!("there is no node {name}; see /v1/nodes")))
}

async fn remove(call: Call) -> Result<Done, Failure> {
    call.ask::<RemoveNode>(NodeRequest { name: call.path("node")? }).await?;
    Ok(Done)
}

async fn host(call: Call) -> Result<Found<GetNodeReply>, Failure> {
    Ok(Found(call.ask::<GetNode>(Empty {}).await?))
}

async fn agent(call: Call) -> Result<Found<AgentStatus>, Failure> {
    Ok(Found(call.ask::<GetStatus>(Empty {}).await?))
}

async fn database(call: Call) -> Result<Found<cluster::Status>, Failure> {
    Ok(Found(call.ask::<cluster::GetStatus>(Empty {}).await?))
}

/// The members by this node's agent, each with what the control plane says of it, if it answers.
async fn nodes(call: &Call) -> Result<Vec<Node>, Failure> {
    let (members, presence) = tokio::join!(call.ask::<ListMembers>(Empty {}), presence(call));
    let mut presence = presence?;
    let joined = members?.nodes.into_iter().map(|member| {
        let said = presence.remove(&member.name);
        Node {
            online: said.as_ref().map(|said| said.online),
            verdict: said.as_ref().map(|said| said.verdict),
            for_ms: said.as_ref().and_then(|said| said.for_ms),
            judged: said.and_then(|said| said.judged),
            member,
        }
    });
    Ok(joined.collect())
}

/// Who is online by the control plane's word; nobody's presence is known while it does not answer, or there is none.
async fn presence(call: &Call) -> Result<BTreeMap<Name, NodePresence>, Failure> {
    let hub = call.client.service("hub").deadline(PRESENCE_TIMEOUT);
    match hub.call::<ListNodes>(NodeFilter::default()).await {
        Ok(reply) => Ok(reply.nodes.into_iter().map(|node| (node.node.name.clone(), node)).collect()),
        Err(failure) if failure.code == Code::PermissionDenied => Err(failure),
        Err(failure) => {
            tracing::debug!(%failure, "members are listed without their presence");
            Ok(BTreeMap::new())
        }
    }
}
