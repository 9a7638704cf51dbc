//! `acpctl job`.

use acp_base::{Code, Failure, Uid};
use acp_wire_model::Kind;

use super::{list, short_id::select, show};
use crate::{args::JobVerb, session::Session, wait};

/// The services that have jobs.
const OWNERS: [&str; 2] = ["hypervisor", "storage"];

pub(super) async fn run(session: &mut Session, verb: JobVerb) -> Result<u8, Failure> {
    match verb {
        JobVerb::List => list(session, Kind::Job).await,
        JobVerb::Show(job) => {
            let id = find(session, &job.id).await?;
            show(session, Kind::Job, &id.to_string()).await
        }
        JobVerb::Watch(job) => {
            let id = find(session, &job.id).await?;
            let owner = owner(session, id).await?;
            let job = wait::follow(session, owner, id).await?;
            session.out.done(&format!("{} {} succeeded", job.verb, job.object_name), &job)?;
            Ok(crate::DONE)
        }
        JobVerb::Cancel(job) => {
            let id = find(session, &job.id).await?;
            let owner = owner(session, id).await?;
            let job = session.acp().jobs(owner).cancel(id).await?;
            session.out.done(&format!("{} {} was asked to end", job.verb, job.object_name), &job)?;
            Ok(crate::DONE)
        }
    }
}

/// The job of this id, or whose id begins or ends so.
async fn find(session: &Session, text: &str) -> Result<Uid, Failure> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let jobs = session.list(Kind::Job, Vec::new()).await?;
    let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
    select(&names, text, "job", "job list")?
        .parse()
        .map_err(|error| Failure::internal(format!("a job's id is none: {error}")))
}

/// The service that owns a job: asked directly, since a job that has just begun may not be an object yet.
async fn owner(session: &Session, id: Uid) -> Result<&'static str, Failure> {
    let mut silent = None;
    for owner in OWNERS {
        match session.acp().jobs(owner).get(id).await {
            Ok(_) => return Ok(owner),
            Err(failure) if failure.code == Code::NotFound => {}
            Err(failure) => silent = Some(failure),
        }
    }
    Err(silent.unwrap_or_else(|| Failure::not_found(format!("there is no job {id}; see: acpctl job list"))))
}
