//! `acpctl cluster upgrade`: the feature level is raised, once everybody's programs know it.

use acp_base::{Code, Failure};
use acp_wire_api::hub::UpgradePlan;

use crate::{error, output::to_value, session::Session};

/// The exit status of a plan against which something stands.
const NOT_YET: u8 = Code::FailedPrecondition.exit_status();

pub(super) async fn run(session: &mut Session, is_plan: bool) -> Result<u8, Failure> {
    let plan = session.acp().quorum().plan_upgrade().await?;
    if plan.level >= plan.to {
        let sentence = format!("the cluster is at feature level {}, the newest that its programs know", plan.level);
        session.out.done(&sentence, &to_value(&plan)?)?;
        return Ok(crate::DONE);
    }
    if is_plan {
        return show(session, &plan);
    }
    if !plan.clashes.is_empty() {
        return Err(Failure::precondition(plan.clashes.join("\n")));
    }
    error::say(&plan.effects.join("\n"));
    session.confirm(&format!("raise the cluster's feature level from {} to {}", plan.level, plan.to))?;
    let raised = session.acp().quorum().upgrade().await?;
    let sentence = format!("the cluster is at feature level {}", raised.level);
    session.out.done(&sentence, &to_value(&raised)?)?;
    Ok(crate::DONE)
}

fn show(session: &mut Session, plan: &UpgradePlan) -> Result<u8, Failure> {
    if session.out.is_for_people() {
        let mut text = format!("the cluster's feature level would be raised from {} to {}\n", plan.level, plan.to);
        plan.effects.iter().for_each(|effect| text.push_str(&format!("  {effect}\n")));
        plan.clashes.iter().for_each(|clash| text.push_str(&format!("not yet: {clash}\n")));
        session.out.writer().text(&text)?;
    } else {
        session.out.object(&to_value(plan)?)?;
    }
    Ok(if plan.clashes.is_empty() { crate::DONE } else { NOT_YET })
}
