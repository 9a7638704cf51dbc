//! Jobs.

use acp_base::{Code, Failure, Uid};
use acp_wire_api::{
    cluster,
    jobs::{Cancel, Get, JobRequest, Watch},
};
use acp_wire_model::job::Job;

use super::views::{ReportedJob, list};
use crate::{
    answer::Found,
    call::Call,
    events::{Events, Rendered},
    operation::Operation,
};

/// The services that have jobs.
const OWNERS: [&str; 2] = ["hypervisor", "storage"];

pub(super) fn operations() -> Vec<Operation> {
    let all = vec![
        Operation::get("/jobs", "listJobs", "Lists the jobs of a node.", list::<ReportedJob>)
            .paged()
            .calls::<cluster::List>(),
        Operation::get("/jobs/{uid}", "getJob", "Answers one job, as its owner says.", show).calls::<Get>(),
        Operation::act("/jobs/{uid}/cancel", "cancelJob", "Asks a job to end without success.", cancel)
            .calls::<Cancel>(),
        Operation::get("/jobs/{uid}/watch", "watchJob", "Tells how a job goes on, until it has ended.", watch)
            .watch()
            .calls::<Watch>(),
    ];
    all.into_iter().map(Operation::of_node).collect()
}

async fn show(call: Call) -> Result<Found<Job>, Failure> {
    Ok(Found(find(&call).await?.1))
}

async fn cancel(call: Call) -> Result<Found<Job>, Failure> {
    let (owner, job) = find(&call).await?;
    Ok(Found(call.service(owner).call::<Cancel>(JobRequest { id: job.id }).await?.job))
}

async fn watch(call: Call) -> Result<Events, Failure> {
    let permit = call.app.watches.open(call.identity.as_deref())?;
    let (owner, job) = find(&call).await?;
    let replies = call.service(owner).stream::<Watch>(JobRequest { id: job.id }).await?;
    let render = |reply: &acp_wire_api::jobs::JobReply, out: &mut Rendered| {
        out.event("job", None, &reply.job);
        if reply.job.state.is_final() {
            out.event("ended", None, &reply.job.state);
        }
    };
    Events::start(&call, permit, replies, render).await
}

/// A job with the service that owns it: asked directly, since one that has just begun may not be an object yet.
async fn find(call: &Call) -> Result<(&'static str, Job), Failure> {
    let id: Uid = call.path("uid")?;
    let mut silent = None;
    for owner in OWNERS {
        match call.service(owner).call::<Get>(JobRequest { id }).await {
            Ok(reply) => return Ok((owner, reply.job)),
            Err(failure) if failure.code == Code::NotFound => {}
            Err(failure) => silent = Some(failure),
        }
    }
    Err(silent.unwrap_or_else(|| Failure::not_found(format!("there is no job {id}"))))
}
