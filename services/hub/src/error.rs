//! Why the daemon ends, and what a caller hears.

use std::{error::Error, path::PathBuf};

use acp_base::{Code, Failure};
use acp_core_membership::{Inconsistency, Rejection};
use acp_io_daemon::Fatal;
use acp_io_failpoint::Injected;
use acp_io_pki::PkiError;
use acp_io_record::RecordError;

/// Why the daemon cannot begin. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The record cannot be read, or is not for this version.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record is one that no history leads to.
    #[error("{} is damaged: restore it from a backup", path.display())]
    Inconsistent {
        /// The record.
        path: PathBuf,
        /// What does not hold.
        source: Inconsistency,
    },
    /// The authority cannot be read.
    #[error("the cluster's authority cannot be used")]
    Authority(#[source] PkiError),
    /// The authority of the cluster in the record is not there.
    #[error(
        "the authority's key or certificate in {} is missing, or is another one than the cluster's: restore both from a backup",
        directory.display()
    )]
    OtherAuthority {
        /// Where it ought to be.
        directory: PathBuf,
    },
}

impl From<StartError> for Fatal {
    fn from(error: StartError) -> Self {
        let is_for_the_operator = match &error {
            StartError::Record(record) => record.is_for_the_operator(),
            StartError::Authority(PkiError::File { .. }) => false,
            StartError::Inconsistent { .. } | StartError::Authority(_) | StartError::OtherAuthority { .. } => true,
        };
        let text = sentence(&error);
        if is_for_the_operator { Self::config(text) } else { Self::temporary(text) }
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The membership says no: the caller's fault, and nothing was changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It could not be kept, or the daemon is ending.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl ChangeError {
    /// The label under which it is counted.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.label(),
            Self::Failed(_) => "failed",
        }
    }
}

impl From<Injected> for ChangeError {
    fn from(injected: Injected) -> Self {
        Self::Failed(injected.into())
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Rejected(rejection) => rejected(&rejection),
            ChangeError::Failed(failure) => failure,
        }
    }
}

/// The error and its causes in one sentence, each said once.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// What a caller hears of a rejection.
pub(crate) fn rejected(rejection: &Rejection) -> Failure {
    let code = match rejection {
        Rejection::NoCluster | Rejection::LastController { .. } | Rejection::Gone { .. } => Code::FailedPrecondition,
        Rejection::TokenUnknown | Rejection::TokenExpired | Rejection::TokenUsedUp => Code::PermissionDenied,
        Rejection::Address { .. } | Rejection::Range { .. } | Rejection::ScopeInternal => Code::InvalidArgument,
        Rejection::Founded { .. }
        | Rejection::NameTaken { .. }
        | Rejection::AddressTaken { .. }
        | Rejection::IdTaken { .. }
        | Rejection::KeyTaken { .. }
        | Rejection::JoinedAs { .. }
        | Rejection::KeyNameTaken { .. }
        | Rejection::SecretTaken
        | Rejection::UidTaken { .. } => Code::AlreadyExists,
        Rejection::MembersFull | Rejection::NodesFull | Rejection::TokensFull | Rejection::KeysFull => {
            Code::ResourceExhausted
        }
        Rejection::NoMember { .. }
        | Rejection::NoMemberOfId { .. }
        | Rejection::NoToken { .. }
        | Rejection::NoKey { .. } => Code::NotFound,
    };
    Failure::new(code, rejection.to_string())
}

/// What a caller hears when keys or certificates are at fault.
pub(crate) fn pki_failure(error: &PkiError) -> Failure {
    let text = sentence(error);
    match error {
        PkiError::BadRequest => Failure::invalid(format!("signing_request: {text}")),
        PkiError::File { .. } => Failure::unavailable(text),
        PkiError::Damaged { .. } | PkiError::Exposed { .. } => Failure::new(Code::DataLoss, text),
        PkiError::BadCertificate | PkiError::Crypto(_) => Failure::internal(text),
    }
}
