//! `acp.jobs`: the jobs of the service that answers.

use acp_base::Uid;
use acp_wire_model::job::Job;
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::Empty;

interface! {
    /// The jobs of the service that answers. Every job of the cluster is also an object of kind `job`.
    "acp.jobs";
    /// Answers every job the service remembers, oldest first.
    Once List(Empty) -> ListReply, Read, ["hypervisor", "storage"];
    /// Answers one job.
    Once Get(JobRequest) -> JobReply, Read, ["hypervisor", "storage"];
    /// Answers the job now and after each change; ends when the job has ended.
    Stream Watch(JobRequest) -> JobReply, Read, ["hypervisor", "storage"];
    /// Asks the job to end without success; answers at once. What it has changed is undone.
    Once Cancel(JobRequest) -> JobReply, Operate, ["hypervisor"];
}

/// See [`List`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct ListReply {
    /// Oldest first.
    pub jobs: Vec<Job>,
}

/// Which job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Its id.
    pub id: Uid,
}

/// A job as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct JobReply {
    /// The job.
    pub job: Job,
}

/// What a method answers that starts a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
pub struct Started {
    /// The job's id; absent when there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Uid>,
}
