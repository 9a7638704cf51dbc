//! Waiting for jobs, with a line that shows where they stand.

use acp_base::{Change, Code, Failure, Uid};
use acp_client::{JOB_LIMIT, JobNews};
use acp_wire_api::jobs::Started;
use acp_wire_model::job::Job;
use serde_json::json;
use tokio::time::interval;

use crate::{
    progress::{Progress, TICK},
    session::Session,
};

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
        let sentence = format!("job {id} started; {}", how_to_follow(session, id));
        session.out.done(&sentence, &json!({ "job": id }))?;
    }
    Ok(crate::DONE)
}

/// Waits for a job's end; a job that does not succeed is a failure.
pub(crate) async fn follow(session: &Session, owner: &str, id: Uid) -> Result<Job, Failure> {
    let progress = Progress::new();
    let jobs = session.acp().jobs(owner);
    let ended = jobs.follow(id, session.timeout().unwrap_or(JOB_LIMIT), |news| match news {
        JobNews::Running(job) => progress.show(job),
        JobNews::Waiting => progress.say("waiting for its daemon"),
    });
    tokio::pin!(ended);
    let mut ticks = interval(TICK);
    let ended = loop {
        tokio::select! {
            result = &mut ended => break result,
            _instant = ticks.tick() => progress.tick(),
        }
    };
    ended.map_err(|failure| match (failure.code, failure.changed) {
        (Code::DeadlineExceeded, Change::Partial) => {
            let message = format!("{}; {}", failure.message, how_to_follow(session, id));
            Failure { message, ..failure }
        }
        _ => failure,
    })
}

fn how_to_follow(session: &Session, id: Uid) -> String {
    format!("follow it with: {}", session.advice(&format!("job watch {id}")))
}
