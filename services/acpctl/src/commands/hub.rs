//! `acpctl hub`: the voters of the cluster's log.

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty,
    hub::{GetStatus, QuorumStatus},
};

use super::cluster::HUB;
use crate::{
    args::HubVerb,
    error,
    output::{Column, Style, to_value},
    session::Session,
};

/// The exit status when nothing can be changed.
const NOT_WELL: u8 = Code::Unavailable.exit_status();

const COLUMNS: &[Column] = &[
    Column("VOTER", "/name", Style::Plain),
    Column("ROLE", "/role", Style::Plain),
    Column("BEHIND", "/behind", Style::Plain),
    Column("HEARD", "/heard_ms", Style::Age),
    Column("ID", "/uid", Style::Plain),
];

pub(super) async fn run(session: &mut Session, verb: HubVerb) -> Result<u8, Failure> {
    match verb {
        HubVerb::Status => {
            let status = session.acp().quorum().status().await?;
            show(session, &status)
        }
        HubVerb::Transfer { to } => {
            let status = session.acp().quorum().transfer(to).await?;
            let leader =
                status.leader.as_ref().map_or_else(|| "no voter".to_owned(), |leader| format!("node {leader}"));
            session.out.done(&format!("{leader} leads"), &to_value(&status)?)?;
            Ok(crate::DONE)
        }
        HubVerb::Recover { plan } => recover(session, plan).await,
    }
}

/// Says what is lost before anything is: by the plan of the hub itself.
async fn recover(session: &mut Session, is_plan: bool) -> Result<u8, Failure> {
    let own = session.daemon(HUB)?;
    let cluster = own.call::<GetStatus>(Empty {}).await?.cluster;
    let plan = session.acp().quorum().recover(true).await?;
    if is_plan {
        if session.out.is_for_people() {
            let text = explain(&plan);
            session.out.writer().text(&text)?;
            return Ok(crate::DONE);
        }
        session.out.object(&to_value(&plan)?)?;
        return Ok(crate::DONE);
    }
    error::say(&explain(&plan));
    let name = cluster.map_or_else(|| plan.node.clone(), |cluster| cluster.name);
    session.confirm_by_name(
        &format!("begin a new epoch of {name} with node {} as the only voter", plan.node),
        name.as_str(),
    )?;
    let status = session.acp().quorum().recover(false).await?;
    let sentence = format!(
        "{name} goes on in epoch {} with node {} as its only voter; other members follow as they come back",
        status.epoch, status.node
    );
    session.out.done(&sentence, &to_value(&status)?)?;
    Ok(crate::DONE)
}

/// What recovering means, for somebody who reads it at night: what the hub says of what is lost, then when to do it.
fn explain(plan: &QuorumStatus) -> String {
    format!(
        "node {} has entries up to {} of epoch {}; from there the cluster would go on\n{}\ndo this only if the other voters do \
         not come back, and on the survivor whose entries go furthest: compare acpctl --node NODE hub status\nwho comes back \
         takes this node's log over; guests go on, and those that are not declared in it become orphans\n",
        plan.node, plan.applied, plan.epoch, plan.degraded
    )
}

fn show(session: &mut Session, status: &QuorumStatus) -> Result<u8, Failure> {
    if session.out.is_for_people() {
        let rows = status.voters.iter().map(to_value).collect::<Result<Vec<_>, _>>()?;
        let text = summary(status) + &session.out.table(&rows, COLUMNS);
        session.out.writer().text(&text)?;
    } else {
        session.out.object(&to_value(status)?)?;
    }
    Ok(if status.degraded.is_empty() { crate::DONE } else { NOT_WELL })
}

fn summary(status: &QuorumStatus) -> String {
    let leader = match &status.leader {
        None => "none is known".to_owned(),
        Some(leader) if status.degraded.is_empty() => leader.to_string(),
        // It may be this very node, cut off, which cannot know who leads the others by now.
        Some(leader) => format!("{leader} was the last one known"),
    };
    let learners = status.voters.iter().filter(|voter| voter.role == "learner").count();
    let mut out = format!(
        "Leader:      {leader}, term {}\nLog:         epoch {}, index {} by node {}\nVoters:      {} of {} wanted\n",
        status.term,
        status.epoch,
        status.applied,
        status.node,
        status.voters.len() - learners,
        status.wanted,
    );
    if !status.degraded.is_empty() {
        out.push_str(&format!("Degraded:    {}\n", status.degraded));
    }
    out.push('\n');
    out
}
