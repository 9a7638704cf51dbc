//! Jobs: following them to their end, across restarts of the daemons that own them and of the agents between.

use std::time::Duration;

use acp_base::{Change, Code, Failure, Uid};
use acp_io_client::ServiceClient;
use acp_wire_api::jobs::{Cancel, Get, JobRequest, Watch};
use acp_wire_model::job::{Job, JobState};
use tokio::time::{Instant, sleep, timeout_at};

use crate::Connection;

/// How long a job is waited for by those who know no better: longer than any copy takes, and an end for programs.
pub const JOB_LIMIT: Duration = Duration::from_secs(3600);

/// The pause before a daemon that went away is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The jobs of a service.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    connection: &'a Connection,
    owner: &'a str,
}

/// What is heard of a job while it is followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JobNews<'a> {
    /// Where it stands.
    Running(&'a Job),
    /// Its daemon went away and is waited for.
    Waiting,
}

impl<'a> Jobs<'a> {
    pub(crate) const fn new(connection: &'a Connection, owner: &'a str) -> Self {
        Self { connection, owner }
    }

    /// One job as it stands.
    pub async fn get(self, id: Uid) -> Result<Job, Failure> {
        self.connection.call::<Get>(self.owner, JobRequest { id }).await.map(|reply| reply.job)
    }

    /// Asks a job to end without success; what it has changed is undone.
    pub async fn cancel(self, id: Uid) -> Result<Job, Failure> {
        self.connection.call::<Cancel>(self.owner, JobRequest { id }).await.map(|reply| reply.job)
    }

    /// Waits for a job's end and answers it if it succeeded. `heard` is told where it stands.
    ///
    /// # Errors
    /// The job's own failure; `Cancelled`; `DeadlineExceeded` if it goes on after `limit`.
    pub async fn follow(self, id: Uid, limit: Duration, heard: impl FnMut(JobNews<'_>)) -> Result<Job, Failure> {
        let service = self.connection.service(self.owner)?;
        let ended = timeout_at(Instant::now() + limit, until_end(&service, id, heard)).await;
        let job = ended.unwrap_or_else(|_elapsed| {
            let message = format!("job {id} goes on after {limit:?}");
            Err(Failure::new(Code::DeadlineExceeded, message).changed(Change::Partial))
        })?;
        outcome(job)
    }
}

async fn until_end(service: &ServiceClient, id: Uid, mut heard: impl FnMut(JobNews<'_>)) -> Result<Job, Failure> {
    loop {
        match watch(service, id, &mut heard).await {
            Err(failure) if failure.code == Code::Unavailable => {
                heard(JobNews::Waiting);
                sleep(RETRY_PAUSE).await;
            }
            result => return result,
        }
    }
}

async fn watch(service: &ServiceClient, id: Uid, heard: &mut impl FnMut(JobNews<'_>)) -> Result<Job, Failure> {
    let mut replies = service.stream::<Watch>(JobRequest { id }).await?;
    while let Some(reply) = replies.next().await {
        let job = reply?.job;
        if job.state.is_final() {
            return Ok(job);
        }
        heard(JobNews::Running(&job));
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
    fn who_follows_a_job_ends_as_it_does() {
        assert!(outcome(job(JobState::Succeeded, None)).is_ok());
        let lacking = JobError { code: "ResourceExhausted".into(), message: "no memory".into() };
        let failure = outcome(job(JobState::Failed, Some(lacking))).expect_err("failed");
        assert_eq!((failure.code, failure.message.as_str()), (Code::ResourceExhausted, "system-start demo: no memory"));
        assert_eq!(outcome(job(JobState::Cancelled, None)).expect_err("cancelled").code, Code::Cancelled);
        assert_eq!(outcome(job(JobState::Failed, None)).expect_err("failed").code, Code::Internal);
    }
}
