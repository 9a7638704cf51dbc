//! A job: a resumable operation of one node.

use acp_base::{Failure, Uid};
use serde::{Deserialize, Serialize};
use zlink::introspect::Type;

use crate::Kind;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[zlink(rename_all = "snake_case")]
pub enum JobState {
    /// At work.
    Running,
    /// Done.
    Succeeded,
    /// Ended without success; everything it had changed is undone unless the error says otherwise.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
}

impl JobState {
    /// Whether the job has ended.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// A job as its owner reports it. The object's name is the job's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Job {
    /// Its identity.
    pub id: Uid,
    /// What it does: `<kind>-<verb>`, like `system-start`.
    pub verb: String,
    /// The service that owns it.
    pub owner: String,
    /// The kind of the object it works on.
    pub object_kind: Kind,
    /// The object's name.
    pub object_name: String,
    /// Where it stands.
    pub state: JobState,
    /// What it is doing right now, in a few words.
    #[serde(default)]
    pub step: String,
    /// How much is done, 0 to 100; absent when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Whether `cancel` is possible now.
    #[serde(default)]
    pub cancellable: bool,
    /// Start, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// End, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobError>,
}

/// Why a job failed: an [`acp_base::Failure`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Type)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    /// The failure's code, as in `acp.error.<code>`.
    pub code: String,
    /// What, why and what to do.
    pub message: String,
}

impl From<&Failure> for JobError {
    fn from(failure: &Failure) -> Self {
        Self { code: failure.code.name().to_owned(), message: failure.message.clone() }
    }
}

impl JobError {
    /// The failure again; an unknown code is an internal one.
    pub fn to_failure(&self) -> Failure {
        let code = acp_base::Code::from_name(&self.code).unwrap_or(acp_base::Code::Internal);
        Failure::new(code, self.message.clone())
    }
}
