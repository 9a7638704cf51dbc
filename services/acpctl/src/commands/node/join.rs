//! `acpctl node join` and `rejoin`.

use std::fmt::Write;

use acp_base::Failure;
use acp_wire_api::{
    Empty,
    agent::{GetStatus, JoinCluster, JoinClusterRequest, Joined, PlanJoin, Rejoin, RequestJoinRequest},
    hub::JoinPlan,
};

use super::{CANNOT, ask};
use crate::{
    args::{JoinArgs, RejoinArgs},
    commands::cluster::{AGENT, entered, is_root_here, root_key_of, root_key_to_enter_with},
    output::to_value,
    root_key, secret,
    session::Session,
};

/// What to do about a token that is lacking.
const HOW_TO_GIVE_ONE: &str =
    "give --token-file FILE, or --token-file - and the token on the standard input or at the terminal";

/// With a token, or by asking.
pub(super) async fn run(session: &mut Session, arguments: JoinArgs) -> Result<u8, Failure> {
    let JoinArgs { member, token, address, plan, wait, fingerprint } = arguments;
    let Some(token) = secret::token(token)? else {
        if plan {
            return Err(Failure::invalid(format!("a plan needs a token: {HOW_TO_GIVE_ONE}")));
        }
        let request = RequestJoinRequest {
            member: member.into(),
            fingerprint,
            address: address.map(Into::into),
            root_key_hash: None,
            wait_ms: wait.millis(),
        };
        return ask::run(session, request).await;
    };
    let before = session.call::<GetStatus>(AGENT, Empty {}).await?;
    let (member, address) = (member.into(), address.map(Into::into));
    let request = JoinClusterRequest { member, token, address, root_key_hash: None };
    if plan {
        let is_root = is_root_here(session);
        let root_key_hash = is_root.then(|| root_key::draft(before.root_key_path.as_ref())).transpose()?;
        let plan = session.call::<PlanJoin>(AGENT, JoinClusterRequest { root_key_hash, ..request }).await?;
        return show(session, &plan);
    }
    let request = JoinClusterRequest { root_key_hash: root_key_to_enter_with(session, &before)?, ..request };
    let joined = session.call::<JoinCluster>(AGENT, request).await?;
    entered(session, &before, &joined, &is_member(&joined))
}

/// Back into the cluster that this node was a member of.
pub(super) async fn again(session: &mut Session, arguments: RejoinArgs) -> Result<u8, Failure> {
    let RejoinArgs { member, token, address } = arguments;
    let Some(token) = secret::token(token)? else {
        return Err(Failure::invalid(format!("coming back needs a token: {HOW_TO_GIVE_ONE}")));
    };
    let before = session.call::<GetStatus>(AGENT, Empty {}).await?;
    let root_key_hash = root_key_of(session, &before)?;
    let (member, address) = (member.into(), address.map(Into::into));
    let joined = session.call::<Rejoin>(AGENT, JoinClusterRequest { member, token, address, root_key_hash }).await?;
    entered(session, &before, &joined, &format!("{} again", is_member(&joined)))
}

pub(super) fn is_member(joined: &Joined) -> String {
    format!("node {} at {} is a member of cluster {}", joined.node.name, joined.node.address, joined.cluster.name)
}

fn show(session: &mut Session, plan: &JoinPlan) -> Result<u8, Failure> {
    if session.out.is_for_people() {
        let text = render(plan);
        session.out.writer().text(&text)?;
    } else {
        session.out.object(&to_value(plan)?)?;
    }
    Ok(if plan.clashes.is_empty() { crate::DONE } else { CANNOT })
}

/// What stands against it comes first.
fn render(plan: &JoinPlan) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes everything");
    for clash in &plan.clashes {
        line(format!("cannot join: {clash}"));
    }
    let can = if plan.clashes.is_empty() { "can join" } else { "would join" };
    line(format!("this node {can} cluster {} ({}) of {} nodes", plan.cluster.name, plan.cluster.uid, plan.nodes));
    let root = if plan.root_key { "would have all rights" } else { "would have no rights" };
    line(format!("root of this node {root} on the others"));
    out
}
