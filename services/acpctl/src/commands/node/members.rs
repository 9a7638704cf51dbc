//! `acpctl node list` and `show`: the members as the control plane has them, and without it as this node knows them.

use std::time::Duration;

use acp_base::{Code, Failure, Name};
use acp_wire_api::{
    Empty,
    agent::{GetStatus, ListMembers, ListMembersReply},
    hub::{ListNodes, ListNodesReply, Member, Metadata, NodeFilter, NodePresence, Verdict},
};
use acp_wire_model::Kind;
use serde_json::{Value, json};

use crate::{
    commands::cluster::{AGENT, HUB},
    error,
    output::{Column, Style, ago, now_ms, to_value},
    session::Session,
};

const COLUMNS: &[Column] = &[
    Column("NAME", "/name", Style::Plain),
    Column("STATE", "/status/state", Style::State),
    Column("ADDRESS", "/spec/address", Style::Plain),
    Column("CONTROLLER", "/spec/controller", Style::Plain),
    Column("ROLES", "/spec/roles", Style::Joined),
    Column("SINCE", "/status/since_ms", Style::Since),
    Column("JOINED", "/spec/joined_ms", Style::Since),
    Column("AGE", "/age_ms", Style::Age),
];

/// How long the control plane may take if the caller gives no time; this node's own list is at hand.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn list(session: &mut Session, filter: NodeFilter) -> Result<u8, Failure> {
    let rows = members(session, filter).await?;
    session.out.list(&rows, COLUMNS)?;
    Ok(crate::DONE)
}

pub(super) async fn show(session: &mut Session, name: &Name) -> Result<u8, Failure> {
    let mut rows = members(session, NodeFilter::default()).await?;
    let Some(at) = rows.iter().position(|row| row["name"] == name.as_str()) else {
        return Err(Failure::not_found(format!("there is no node {name}; see: acpctl node list")));
    };
    let mut row = rows.swap_remove(at);
    // They are this node's own; without them the rest is still worth showing.
    if let Ok(status) = session.call::<GetStatus>(AGENT, Empty {}).await {
        let links = status.links.iter().filter(|link| link.name == name.as_str());
        row["status"]["links"] = links.map(to_value).collect::<Result<Value, _>>()?;
    }
    if session.out.is_for_people() {
        // Names of values are an operator's: they are shown as they are given, and say nothing of units.
        let metadata: Metadata = serde_json::from_value(row["spec"]["metadata"].take()).unwrap_or_default();
        row["spec"]["metadata"] = json!(metadata.to_string());
    }
    session.out.object(&row)?;
    Ok(crate::DONE)
}

/// The members as objects. Where they come from is said if it is not the control plane, which alone can filter.
async fn members(session: &Session, filter: NodeFilter) -> Result<Vec<Value>, Failure> {
    let is_all = filter == NodeFilter::default();
    let failure = match from_hub(session, filter).await {
        Ok(reply) => {
            say_degraded(&reply.degraded, reply.age_ms);
            let object = |node| of_hub(node, reply.revision, reply.age_ms, now_ms());
            return Ok(reply.nodes.iter().map(object).collect());
        }
        Err(failure) => failure,
    };
    if !is_all || !matches!(failure.code, Code::Unavailable | Code::DeadlineExceeded | Code::FailedPrecondition) {
        return Err(failure);
    }
    let known = session.call::<ListMembers>(AGENT, Empty {}).await?;
    error::say(&note(&failure, &known));
    Ok(known.nodes.iter().map(|node| of_agent(node, &known)).collect())
}

/// Says why nothing can be changed, if so.
pub(super) fn say_degraded(degraded: &str, age_ms: u64) {
    if !degraded.is_empty() {
        error::say(&format!("nothing can be changed: {degraded}; who is online was seen {}", ago(age_ms)));
    }
}

async fn from_hub(session: &Session, filter: NodeFilter) -> Result<ListNodesReply, Failure> {
    let hub = session.service(HUB)?.deadline(session.timeout().unwrap_or(PATIENCE));
    hub.call::<ListNodes>(filter).await
}

/// A directory of revision 0 is that of a node on its own.
fn note(failure: &Failure, known: &ListMembersReply) -> String {
    if known.revision == 0 {
        return format!("{failure}: this is this node alone");
    }
    let age = known.age_ms.map_or_else(|| "before its agent started".to_owned(), ago);
    format!("{failure}: these are the members as this node heard of them {age}; who is online is not known")
}

/// A member as the control plane sees it, as an object.
pub(super) fn of_hub(presence: &NodePresence, revision: u64, age_ms: u64, now_ms: u64) -> Value {
    let for_ms = presence.judged.as_ref().map(|judged| judged.for_ms).or(presence.for_ms);
    let since_ms = for_ms.map(|ms| now_ms.saturating_sub(ms));
    let reason = presence.judged.as_ref().map(|judged| judged.evidence.as_str());
    let status = json!({ "state": state(presence), "since_ms": since_ms, "reason": reason });
    object(&presence.node, revision, status, HUB, Some(age_ms))
}

/// What the control plane takes a member for, in a word.
pub(super) const fn state(presence: &NodePresence) -> &'static str {
    match (presence.verdict, &presence.judged) {
        (Verdict::Parked, _) => "parked",
        (_, Some(judged)) => judged.standing.word(),
        (Verdict::Online, None) => "online",
        (Verdict::Offline, None) if presence.online => "online",
        (Verdict::Offline, None) => "offline",
    }
}

fn of_agent(node: &Member, known: &ListMembersReply) -> Value {
    object(node, known.revision, json!({ "state": "unknown", "since_ms": null, "reason": null }), AGENT, known.age_ms)
}

/// A member in the shape of every object; its version is the directory's.
fn object(node: &Member, revision: u64, status: Value, reporter: &str, age_ms: Option<u64>) -> Value {
    json!({
        "kind": Kind::Node,
        "name": node.name,
        "uid": node.uid,
        "version": revision,
        "spec": {
            "address": node.address,
            "controller": node.controller,
            "fingerprint": node.fingerprint,
            "joined_ms": node.joined_ms,
            "metadata": node.metadata,
            "parked": node.parked,
            "roles": node.roles,
        },
        "status": status,
        "stats": null,
        "reporter": reporter,
        "age_ms": age_ms,
    })
}
