//! `acp.jobs`.

use acp_base::{Failure, Uid};
use acp_io_daemon::{Router, Sink};
use acp_wire_api::jobs::{Cancel, Get, JobReply, List, ListReply, Watch};

use crate::{Jobs, registry::no_job};

/// Answers `acp.jobs` for these jobs.
pub fn routes(router: &mut Router, jobs: Jobs) {
    let own = jobs.clone();
    router.once::<List, _, _>(move |_call| std::future::ready(Ok(ListReply { jobs: own.list() })));
    let own = jobs.clone();
    router.once::<Get, _, _>(move |call| std::future::ready(get(&own, call.request.id)));
    let own = jobs.clone();
    router
        .once::<Cancel, _, _>(move |call| std::future::ready(own.cancel(call.request.id).map(|job| JobReply { job })));
    router.stream::<Watch, _, _>(move |call, sink| watch(jobs.clone(), call.request.id, sink));
}

fn get(jobs: &Jobs, id: Uid) -> Result<JobReply, Failure> {
    jobs.get(id).map(|job| JobReply { job }).ok_or_else(|| no_job(id))
}

async fn watch(jobs: Jobs, id: Uid, sink: Sink<Watch>) -> Result<JobReply, Failure> {
    let mut changes = jobs.watch(id).ok_or_else(|| no_job(id))?;
    loop {
        let job = changes.borrow_and_update().clone();
        if job.state.is_final() {
            return Ok(JobReply { job });
        }
        sink.send(JobReply { job }).await?;
        changes.changed().await.map_err(|_forgotten| no_job(id))?;
    }
}
