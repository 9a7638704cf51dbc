//! Following jobs to their end, across restarts of the daemons that own them.

use std::time::Duration;

use acp_base::{Change, Code, Failure, Uid};
use acp_io_client::ServiceClient;
use acp_wire_api::jobs::{JobRequest, Started, Watch};
use acp_wire_model::job::{Job, JobState};
use serde_json::json;
use tokio::time::{Instant, interval, sleep, timeout_at};

use crate::{
    progress::{Progress, TICK},
    session::Session,
};

/// How long a job is waited for if the caller gives no time: longer than any copy takes, and an end for scripts.
const WAIT_DEFAULT: Duration = Duration::from_secs(3600);

/// The pause before a daemon that went away is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Ends a verb that started a job of `owner`: waits for it if asked to, and says what is done or how to go on.
pub(crate) async fn conclude(
    session: &mut Session,
    owner: &str,
    started: Started,
    is_waiting: bool,
    done: &str,
) -> Result<u8, Failure> {
    let Some(id) = started.job else {
        session.out.done(done, &json!({ "job": null }))?;
        return Ok(crate::DONE);
    };
    if is_waiting {
        let job = follow(session, owner, id).await?;
        session.out.done(done, &job)?;
    } else {
        session.out.done(&format!("job {id} started; follow it with: acpctl job watch {id}"), &json!({ "job": id }))?;
    }
    Ok(crate::DONE)
}

/// Waits for a job's end; a job that does not succeed is a failure.
pub(crate) async fn follow(session: &Session, owner: &str, id: Uid) -> Result<Job, Failure> {
    let limit = session.timeout().unwrap_or(WAIT_DEFAULT);
    let service = session.service(owner)?;
    let progress = Progress::new();
    let ended = timeout_at(Instant::now() + limit, until_end(&service, id, &progress)).await;
    drop(progress);
    let job = ended.unwrap_or_else(|_elapsed| {
        let message = format!("job {id} goes on after {limit:?}; follow it with: acpctl job watch {id}");
        Err(Failure::new(Code::DeadlineExceeded, message).changed(Change::Partial))
    })?;
    outcome(job)
}

async fn until_end(service: &ServiceClient, id: Uid, progress: &Progress) -> Result<Job, Failure> {
    let mut ticks = interval(TICK);
    let watching = async {
        loop {
            match watch(service, id, progress).await {
                Err(failure) if failure.code == Code::Unavailable => {
                    progress.say("waiting for its daemon");
                    sleep(RETRY_PAUSE).await;
                }
                result => return result,
            }
        }
    };
    tokio::pin!(watching);
    loop {
        tokio::select! {
            result = &mut watching => return result,
            _instant = ticks.tick() => progress.tick(),
        }
    }
}

async fn watch(service: &ServiceClient, id: Uid, progress: &Progress) -> Result<Job, Failure> {
    let mut replies = service.stream::<Watch>(JobRequest { id }).await?;
    while let Some(reply) = replies.next().await {
        let job = reply?.job;
        if job.state.is_final() {
            return Ok(job);
        }
        progress.show(&job);
    }
    Err(Failure::unavailable("the watch of the job ended before the job"))
}

fn outcome(job: Job) -> Result<Job, Failure> {
    let what = || format!("{} {}", job.verb, job.object_name);
    match job.state {
        JobState::Succeeded => Ok(job),
        JobState::Cancelled => Err(Failure::new(Code::Cancelled, format!("{} was cancelled", what()))),
        JobState::Failed => match &job.error {
            Some(error) => Err(error.to_failure().context(what())),
            None => Err(Failure::internal(format!("{} failed without saying why", what()))),
        },
        JobState::Running => Err(Failure::internal(format!("{} was said to have ended while it runs", what()))),
    }
}

#[cfg(test)]
mod tests {
    use acp_wire_model::{Kind, job::JobError};

    use super::*;

    fn job(state: JobState, error: Option<JobError>) -> Job {
        Job {
            id: Uid::from_u128(1),
            verb: "system-start".into(),
            owner: "hypervisor".into(),
            object_kind: Kind::System,
            object_name: "demo".into(),
            state,
            step: String::new(),
            percent: None,
            cancellable: false,
            started_ms: 0,
            ended_ms: None,
            error,
        }
    }

    #[test]
    fn a_command_ends_as_its_job() {
        assert!(outcome(job(JobState::Succeeded, None)).is_ok());
        let lacking = JobError { code: "ResourceExhausted".into(), message: "no memory".into() };
        let failure = outcome(job(JobState::Failed, Some(lacking))).expect_err("failed");
        assert_eq!((failure.code, failure.message.as_str()), (Code::ResourceExhausted, "system-start demo: no memory"));
        assert_eq!(outcome(job(JobState::Cancelled, None)).expect_err("cancelled").code, Code::Cancelled);
        assert_eq!(outcome(job(JobState::Failed, None)).expect_err("failed").code, Code::Internal);
    }
}
