//! The one shape in which an operation says that it failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it was: a closed set, the same for every service, every interface and every exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Code {
    /// A parameter is missing, of the wrong type, unknown or out of range.
    InvalidArgument,
    /// The object does not exist.
    NotFound,
    /// An object of that name, address or id exists.
    AlreadyExists,
    /// The object is in a state that forbids the operation; the message says which and what to do.
    FailedPrecondition,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// A named bound was reached: memory, disk, connections, queue.
    ResourceExhausted,
    /// The deadline passed before the operation ended.
    DeadlineExceeded,
    /// A service needed for this does not answer at the moment.
    Unavailable,
    /// Two writers met; read again and repeat.
    Conflict,
    /// The operation was cancelled.
    Cancelled,
    /// The method, feature or format is not known here.
    Unimplemented,
    /// Stored data does not verify.
    DataLoss,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// Every code, in the order of their exit codes.
    pub const ALL: [Self; 13] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::DeadlineExceeded,
        Self::Unavailable,
        Self::Conflict,
        Self::Cancelled,
        Self::Unimplemented,
        Self::DataLoss,
        Self::Internal,
    ];

    /// The code's name, the last part of its Varlink error `acp.error.<name>`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "InvalidArgument",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::FailedPrecondition => "FailedPrecondition",
            Self::PermissionDenied => "PermissionDenied",
            Self::ResourceExhausted => "ResourceExhausted",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Unavailable => "Unavailable",
            Self::Conflict => "Conflict",
            Self::Cancelled => "Cancelled",
            Self::Unimplemented => "Unimplemented",
            Self::DataLoss => "DataLoss",
            Self::Internal => "Internal",
        }
    }

    /// The code of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// The exit status of `acpctl` for this failure. Part of the interface: 64 for what the caller has to correct in the
    /// words of the call, 75 for what may pass by itself, others one by one.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::InvalidArgument | Self::Unimplemented => 64,
            Self::NotFound => 2,
            Self::AlreadyExists => 3,
            Self::FailedPrecondition => 4,
            Self::PermissionDenied => 77,
            Self::ResourceExhausted => 5,
            Self::DeadlineExceeded => 6,
            Self::Unavailable => 75,
            Self::Conflict => 7,
            Self::Cancelled => 8,
            Self::DataLoss => 74,
            Self::Internal => 70,
        }
    }
}

/// Who has to act for the operation to succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The caller: the call is wrong.
    Caller,
    /// The operator: the host or the cluster lacks something.
    Operator,
    /// Nobody yet: it may pass.
    Circumstances,
    /// Us: a defect.
    Acp,
}

/// Whether the operation changed anything before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Everything is as before the call.
    None,
    /// Something was changed and stays so; the message says what.
    Partial,
    /// It is not known, for example because the answer was lost.
    Unknown,
}

/// Whether the same call can succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Not before something is corrected.
    Never,
    /// Yes, after a pause.
    Later,
}

/// A failed operation: what, why and what to do, in a sentence for people and in fields for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of failure.
    pub code: Code,
    /// One sentence or fragment: what failed, why, what to do.
    pub message: String,
    /// Who has to act.
    pub blame: Blame,
    /// Whether state changed.
    pub changed: Change,
    /// Whether a retry can help.
    pub retry: Retry,
}

impl Failure {
    /// A failure of this kind with the blame and retry that are usual for it, and nothing changed.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (blame, retry) = match code {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::PermissionDenied => (Blame::Caller, Retry::Never),
            Code::Unimplemented | Code::Cancelled => (Blame::Caller, Retry::Never),
            Code::ResourceExhausted => (Blame::Operator, Retry::Later),
            Code::DeadlineExceeded | Code::Unavailable | Code::Conflict => (Blame::Circumstances, Retry::Later),
            Code::DataLoss => (Blame::Operator, Retry::Never),
            Code::Internal => (Blame::Acp, Retry::Never),
        };
        Self { code, message: message.into(), blame, changed: Change::None, retry }
    }

    /// The call is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The object does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// The state forbids it.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// A service does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// A defect of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The same failure with what it left behind.
    #[must_use]
    pub fn changed(mut self, changed: Change) -> Self {
        self.changed = changed;
        self
    }

    /// The same failure with another party to act.
    #[must_use]
    pub fn blame(mut self, blame: Blame) -> Self {
        self.blame = blame;
        self
    }

    /// The same failure with what was being done in front: `context: message`.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_name() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.name()), Some(code));
        }
        assert_eq!(Code::from_name("Nonsense"), None);
    }
}
