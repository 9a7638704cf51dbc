//! `acpctl node join`.

use std::fmt::Write;

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    agent::{GetStatus, JoinCluster, JoinClusterRequest, PlanJoin},
    hub::JoinPlan,
};

use crate::{
    args::JoinArgs,
    commands::cluster::{AGENT, entered, is_root_here, root_key_to_enter_with},
    output::to_value,
    root_key, secret,
    session::Session,
};

/// The exit status of a plan that cannot be carried out: what joining would end with.
const CANNOT: u8 = Code::FailedPrecondition.exit_status();

pub(super) async fn run(session: &mut Session, arguments: JoinArgs) -> Result<u8, Failure> {
    let JoinArgs { member, token, address, plan } = arguments;
    let before = session.call::<GetStatus>(AGENT, Empty {}).await?;
    let request = JoinClusterRequest {
        member: member.into(),
        token: secret::token(token)?,
        address: address.map(Into::into),
        root_key_hash: None,
    };
    if plan {
        let is_root = is_root_here(session);
        let root_key_hash = is_root.then(|| root_key::draft(before.root_key_path.as_ref())).transpose()?;
        let plan = session.call::<PlanJoin>(AGENT, JoinClusterRequest { root_key_hash, ..request }).await?;
        return show(session, &plan);
    }
    let request = JoinClusterRequest { root_key_hash: root_key_to_enter_with(session, &before)?, ..request };
    let joined = session.call::<JoinCluster>(AGENT, request).await?;
    let sentence =
        format!("node {} at {} is a member of cluster {}", joined.node.name, joined.node.address, joined.cluster.name);
    entered(session, &before, &joined, &sentence)
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
