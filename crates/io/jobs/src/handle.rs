//! A running job in its owner's hands.

use acp_base::{Failure, Uid};
use acp_wire_model::job::Job;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Jobs;

/// A running job. Whoever holds it performs the job and ends it with [`JobHandle::finish`].
#[derive(Clone, Debug)]
pub struct JobHandle {
    pub(crate) jobs: Jobs,
    pub(crate) id: Uid,
    pub(crate) cancel: CancellationToken,
}

impl JobHandle {
    /// The job's identity.
    pub fn id(&self) -> Uid {
        self.id
    }

    /// The job as it stands; `None` when it has ended and been forgotten.
    pub fn job(&self) -> Option<Job> {
        self.jobs.get(self.id)
    }

    /// Says what the job is doing and how much is done, 0 to 100. Published, not durable.
    pub fn step(&self, step: &str, percent: Option<u32>) {
        self.jobs.change(self.id, |job| {
            step.clone_into(&mut job.step);
            job.percent = percent.map(|percent| percent.min(100));
        });
    }

    /// Says whether the job can be cancelled from now on.
    pub fn set_cancellable(&self, cancellable: bool) {
        self.jobs.change(self.id, |job| job.cancellable = cancellable);
    }

    /// Stores what a successor needs to resume or undo the job; durable when it returns.
    pub fn detail(&self, detail: &Value) -> Result<(), Failure> {
        self.jobs.store_detail(self.id, detail)
    }

    /// Returns when somebody has asked the job to end.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether somebody has asked the job to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Ends the job; durable when it returns. A failure with the code `Cancelled` ends it as cancelled.
    pub fn finish(&self, result: Result<(), Failure>) {
        self.jobs.end(self.id, result);
    }
}
