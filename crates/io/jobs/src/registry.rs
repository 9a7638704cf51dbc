//! Every job of a service.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Code, Failure, Uid};
use acp_io_client::Reporter;
use acp_io_daemon::{new_uid, wall_now};
use acp_io_failpoint::point;
use acp_io_record::RecordError;
use acp_wire_model::{
    Kind,
    job::{Job, JobError, JobState},
    object::Facet,
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    JobHandle,
    file::{self, Record},
};

/// Jobs at work at a time; more are refused. Each may hold file descriptors and a process.
const RUNNING_MAX: usize = 512;
/// Ended jobs remembered; the oldest is forgotten first. An operator looks at the last ones.
const ENDED_MAX: usize = 256;

/// A job that an earlier life of the service had begun and not ended, with its stored detail.
pub type Interrupted = (JobHandle, Value);

/// Every job of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Jobs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    owner: String,
    reporter: Reporter,
    live: Mutex<BTreeMap<Uid, Live>>,
}

#[derive(Debug)]
struct Live {
    record: Record,
    cancel: CancellationToken,
    changed: watch::Sender<Job>,
}

impl Jobs {
    /// Reads the jobs in `directory`, which is made if it is missing, and answers those that were interrupted.
    pub fn open(directory: &Path, owner: &str, reporter: Reporter) -> Result<(Self, Vec<Interrupted>), Failure> {
        let records = file::read_all(directory).map_err(unusable)?;
        let shared =
            Shared { directory: directory.to_owned(), owner: owner.to_owned(), reporter, live: Mutex::default() };
        let jobs = Self { shared: Arc::new(shared) };
        let mut interrupted = Vec::new();
        for record in records {
            let (id, is_final, detail) = (record.job.id, record.job.state.is_final(), record.detail.clone());
            let handle = jobs.insert(record);
            if !is_final {
                tracing::info!(job = %id, "an interrupted job was found");
                interrupted.push((handle, detail));
            }
        }
        jobs.forget_old();
        Ok((jobs, interrupted))
    }

    /// Begins a job on an object; durable when it returns. Refused while another job works on the object.
    pub fn begin(
        &self,
        verb: &str,
        kind: Kind,
        name: &str,
        detail: Value,
        cancellable: bool,
    ) -> Result<JobHandle, Failure> {
        self.admit(kind, name)?;
        let job = Job {
            id: new_uid(),
            verb: verb.to_owned(),
            owner: self.shared.owner.clone(),
            object_kind: kind,
            object_name: name.to_owned(),
            state: JobState::Running,
            step: String::new(),
            percent: None,
            cancellable,
            started_ms: wall_now().0,
            ended_ms: None,
            error: None,
        };
        let record = Record { job, detail };
        if let Err(failure) = self.store(&record) {
            // The record may stand all the same; a successor would take up what was refused here.
            self.discard(record.job.id);
            return Err(failure);
        }
        tracing::info!(job = %record.job.id, verb, object = name, "job begun");
        Ok(self.insert(record))
    }

    /// The job that works on an object, if any.
    pub fn running_on(&self, kind: Kind, name: &str) -> Option<JobHandle> {
        let live = self.lock();
        let (id, live) = live.iter().find(|(_, live)| works_on(&live.record.job, kind, name))?;
        Some(JobHandle { jobs: self.clone(), id: *id, cancel: live.cancel.clone() })
    }

    /// Every job remembered, oldest first.
    pub fn list(&self) -> Vec<Job> {
        let mut jobs: Vec<Job> = self.lock().values().map(|live| live.record.job.clone()).collect();
        jobs.sort_by_key(|job| (job.started_ms, job.id));
        jobs
    }

    /// One job.
    pub fn get(&self, id: Uid) -> Option<Job> {
        self.lock().get(&id).map(|live| live.record.job.clone())
    }

    /// Follows one job: its state now and after each change.
    pub fn watch(&self, id: Uid) -> Option<watch::Receiver<Job>> {
        self.lock().get(&id).map(|live| live.changed.subscribe())
    }

    /// Asks a job to end; answers it as it stands.
    pub fn cancel(&self, id: Uid) -> Result<Job, Failure> {
        let live = self.lock();
        let job = live.get(&id).ok_or_else(|| no_job(id))?;
        let state = &job.record.job;
        if state.state.is_final() {
            return Err(Failure::precondition(format!("the job has ended already: {:?}", state.state)));
        }
        if !state.cancellable {
            return Err(Failure::precondition(format!("{} cannot be cancelled at this point", state.verb)));
        }
        job.cancel.cancel();
        Ok(state.clone())
    }

    pub(crate) fn change(&self, id: Uid, change: impl FnOnce(&mut Job)) {
        let mut live = self.lock();
        let Some(entry) = live.get_mut(&id).filter(|live| !live.record.job.state.is_final()) else { return };
        change(&mut entry.record.job);
        entry.changed.send_replace(entry.record.job.clone());
        self.publish(&entry.record.job);
    }

    pub(crate) fn store_detail(&self, id: Uid, detail: &Value) -> Result<(), Failure> {
        let mut live = self.lock();
        let entry = live.get_mut(&id).ok_or_else(|| no_job(id))?;
        let record = Record { job: entry.record.job.clone(), detail: detail.clone() };
        self.store(&record)?;
        point("jobs.detail.recorded")?;
        entry.record = record;
        Ok(())
    }

    pub(crate) fn end(&self, id: Uid, result: Result<(), Failure>) {
        let mut live = self.lock();
        let Some(entry) = live.get_mut(&id).filter(|live| !live.record.job.state.is_final()) else { return };
        let job = &mut entry.record.job;
        job.ended_ms = Some(wall_now().0);
        job.cancellable = false;
        job.step.clear();
        match &result {
            Ok(()) => {
                job.state = JobState::Succeeded;
                job.percent = Some(100);
            }
            Err(failure) => {
                job.state = if failure.code == Code::Cancelled { JobState::Cancelled } else { JobState::Failed };
                job.error = Some(JobError::from(failure));
            }
        }
        // What it needed to go on is needed no more, and may be a secret.
        entry.record.detail = Value::Null;
        // An end that cannot be stored is still an end. The record goes instead: a successor that found the job interrupted
        // would do again what was done, and perhaps undone, long ago.
        if let Err(failure) = self.store_end(&entry.record) {
            tracing::error!(job = %id, reason = %failure, "a job's end cannot be stored");
            self.discard(id);
        }
        let job = entry.record.job.clone();
        entry.changed.send_replace(job.clone());
        drop(live);
        log_end(&job);
        self.publish(&job);
        self.forget_old();
    }

    fn admit(&self, kind: Kind, name: &str) -> Result<(), Failure> {
        let live = self.lock();
        let running = live.values().filter(|live| !live.record.job.state.is_final());
        if running.count() >= RUNNING_MAX {
            let text = format!("{RUNNING_MAX} jobs are at work, the most at a time: wait for some to end");
            return Err(Failure::new(Code::ResourceExhausted, text));
        }
        match live.values().find(|live| works_on(&live.record.job, kind, name)) {
            None => Ok(()),
            Some(other) => Err(Failure::new(
                Code::Conflict,
                format!(
                    "the job {} ({}) works on {kind} {name:?}: wait for it with `acpctl job watch {}`",
                    other.record.job.id, other.record.job.verb, other.record.job.id
                ),
            )),
        }
    }

    fn insert(&self, record: Record) -> JobHandle {
        let (id, cancel) = (record.job.id, CancellationToken::new());
        self.publish(&record.job);
        let (changed, _receiver) = watch::channel(record.job.clone());
        self.lock().insert(id, Live { record, cancel: cancel.clone(), changed });
        JobHandle { jobs: self.clone(), id, cancel }
    }

    fn store(&self, record: &Record) -> Result<(), Failure> {
        file::write(&self.shared.directory, record).map_err(|error| broken(&self.shared.directory, &error))
    }

    fn store_end(&self, record: &Record) -> Result<(), Failure> {
        point("jobs.end.due")?;
        self.store(record)?;
        Ok(point("jobs.end.recorded")?)
    }

    fn discard(&self, id: Uid) {
        if let Err(error) = file::remove(&self.shared.directory, id) {
            tracing::error!(job = %id, %error, "a job's file cannot be removed; the next start takes it up");
        }
    }

    fn publish(&self, job: &Job) {
        self.shared.reporter.put(Kind::Job, job.id, Some(job.id.to_string()), Facet::Meta, job);
    }

    fn forget_old(&self) {
        let mut live = self.lock();
        let mut ended: Vec<(u64, Uid)> = live
            .values()
            .map(|live| &live.record.job)
            .filter(|job| job.state.is_final())
            .map(|job| (job.ended_ms.unwrap_or(0), job.id))
            .collect();
        ended.sort_unstable();
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        for (_, id) in ended.into_iter().take(surplus) {
            live.remove(&id);
            self.shared.reporter.remove(Kind::Job, id);
            if let Err(error) = file::remove(&self.shared.directory, id) {
                tracing::warn!(job = %id, %error, "an old job's file cannot be removed");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Live>> {
        self.shared.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn works_on(job: &Job, kind: Kind, name: &str) -> bool {
    !job.state.is_final() && job.object_kind == kind && job.object_name == name
}

fn log_end(job: &Job) {
    match &job.error {
        None => tracing::info!(job = %job.id, verb = job.verb, object = job.object_name, "job succeeded"),
        Some(error) => {
            tracing::info!(job = %job.id, verb = job.verb, object = job.object_name, reason = error.message, "job failed");
        }
    }
}

pub(crate) fn no_job(id: Uid) -> Failure {
    Failure::not_found(format!("no job {id} is known here"))
}

/// A file of a newer version is a failed precondition: trying again cannot help.
fn unusable(error: RecordError) -> Failure {
    let code = if error.is_for_the_operator() { Code::FailedPrecondition } else { Code::Unavailable };
    Failure::new(code, format!("cannot take up jobs: {error}")).blame(acp_base::Blame::Operator)
}

fn broken(directory: &Path, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
        _ => Code::Unavailable,
    };
    Failure::new(code, format!("cannot store jobs in {}: {error}", directory.display()))
        .blame(acp_base::Blame::Operator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(directory: &Path) -> (Jobs, Vec<Interrupted>) {
        let reporter = Reporter::new(acp_io_client::Client::new(directory), 1);
        Jobs::open(&directory.join("jobs"), "test", reporter).expect("a writable directory")
    }

    #[test]
    fn one_job_per_object_and_its_end_is_kept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (jobs, interrupted) = open(directory.path());
        assert!(interrupted.is_empty());
        let job = jobs.begin("system-start", Kind::System, "a", Value::Null, true).expect("nothing runs");
        let refused = jobs.begin("system-stop", Kind::System, "a", Value::Null, true).expect_err("one runs");
        assert_eq!(refused.code, Code::Conflict);
        jobs.begin("system-start", Kind::System, "b", Value::Null, true).expect("another object");
        job.detail(&serde_json::json!({"url": "http://me:secret@host/"})).expect("stored");
        job.finish(Err(Failure::precondition("no")));
        job.finish(Ok(()));
        let path = directory.path().join(format!("jobs/{}.json", job.id()));
        assert!(!std::fs::read_to_string(&path).expect("kept").contains("secret"), "an ended job keeps its detail");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("kept").permissions());
        assert_eq!(mode & 0o777, 0o600);
        let (jobs, interrupted) = open(directory.path());
        let ended = jobs.get(job.id()).expect("remembered");
        assert_eq!((ended.state, ended.error.map(|error| error.message)), (JobState::Failed, Some("no".into())));
        assert_eq!(interrupted.len(), 1);
    }

    #[test]
    fn an_interrupted_job_comes_back_with_its_detail() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (jobs, _) = open(directory.path());
        let job = jobs.begin("image-import", Kind::Image, "i", Value::Null, true).expect("nothing runs");
        job.detail(&serde_json::json!({"staged": "x"})).expect("stored");
        std::fs::write(directory.path().join("jobs/half.new"), b"{").expect("a torn write");
        std::fs::write(directory.path().join("jobs/bad.json"), b"{").expect("a damaged file");
        let (jobs, interrupted) = open(directory.path());
        assert_eq!(interrupted.len(), 1);
        assert_eq!(interrupted[0].1, serde_json::json!({"staged": "x"}));
        assert!(!directory.path().join("jobs/half.new").exists());
        assert!(directory.path().join("jobs/bad.damaged").exists());
        interrupted[0].0.finish(Ok(()));
        assert_eq!(jobs.get(job.id()).map(|job| job.state), Some(JobState::Succeeded));
    }

    #[test]
    fn a_file_of_a_newer_version_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (jobs, _) = open(directory.path());
        let job = jobs.begin("x", Kind::System, "a", Value::Null, false).expect("nothing runs");
        let path = file::path(&directory.path().join("jobs"), job.id());
        let newer = std::fs::read_to_string(&path).expect("there").replace("\"version\":1", "\"version\":7");
        std::fs::write(&path, &newer).expect("written");
        let reporter = Reporter::new(acp_io_client::Client::new(directory.path()), 1);
        let failure = Jobs::open(&directory.path().join("jobs"), "test", reporter).expect_err("newer");
        assert_eq!(failure.code, Code::FailedPrecondition);
        assert!(failure.message.contains("has layout 7, this version of ACP knows up to 1"), "{failure}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), newer);
    }

    #[test]
    fn cancelling_is_refused_where_it_cannot_be_done() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (jobs, _) = open(directory.path());
        let job = jobs.begin("x", Kind::System, "a", Value::Null, false).expect("nothing runs");
        assert_eq!(jobs.cancel(job.id()).expect_err("not cancellable").code, Code::FailedPrecondition);
        job.set_cancellable(true);
        jobs.cancel(job.id()).expect("cancellable now");
        assert!(job.is_cancelled());
        assert_eq!(jobs.cancel(new_uid()).expect_err("unknown").code, Code::NotFound);
    }

    #[test]
    fn ended_jobs_are_forgotten_beyond_the_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (jobs, _) = open(directory.path());
        for number in 0..ENDED_MAX + 3 {
            let job = jobs.begin("x", Kind::System, &number.to_string(), Value::Null, false).expect("nothing runs");
            job.finish(Ok(()));
        }
        assert_eq!(jobs.list().len(), ENDED_MAX);
        assert_eq!(std::fs::read_dir(directory.path().join("jobs")).expect("readable").count(), ENDED_MAX);
    }
}
