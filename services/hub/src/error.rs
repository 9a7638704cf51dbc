//! Why the daemon ends, and what a caller hears.

use std::path::PathBuf;

use acp_base::{Code, Failure, sentence};
use acp_core_membership::Rejection;
use acp_io_daemon::Fatal;
use acp_io_pki::PkiError;
use acp_io_raft::OpenError;
use acp_io_record::RecordError;

/// Why the daemon cannot begin. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The record cannot be read, or is not for this version.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The voters' log cannot be used.
    #[error(transparent)]
    Log(OpenError),
    /// What a crash has interrupted could not be finished.
    #[error("the log could not be begun anew: {0}")]
    Interrupted(Failure),
    /// The checkpoint key cannot be read or made.
    #[error("the key for checkpoints cannot be used")]
    Key(#[source] PkiError),
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
            StartError::Log(log) => !matches!(log, OpenError::Full { .. } | OpenError::Store { .. }),
            StartError::Key(PkiError::File { .. })
            | StartError::Authority(PkiError::File { .. })
            | StartError::Interrupted(_) => false,
            StartError::Key(_) | StartError::Authority(_) | StartError::OtherAuthority { .. } => true,
        };
        let text = sentence(&error);
        if is_for_the_operator { Self::config(text) } else { Self::temporary(text) }
    }
}

/// What a caller hears of a rejection.
pub(crate) fn rejected(rejection: &Rejection) -> Failure {
    Failure::new(rejection.code(), rejection.to_string())
}

/// This hub was made ready to be a controller, and the log has not arrived here yet: others have to be asked.
pub(crate) fn not_yet() -> Failure {
    Failure::unavailable("the cluster's log has not arrived at this hub yet")
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

/// An authority is there that is not of the cluster to be made: whose it is only its log would say.
pub(crate) fn unusable(error: &PkiError) -> Failure {
    match error {
        PkiError::Damaged { path } => Failure::precondition(format!(
            "{} is damaged, or of a cluster whose log is missing: restore the hub's directory from a backup, or move the authority's files away",
            path.display()
        )),
        error => pki_failure(error).context("cannot make the cluster's authority"),
    }
}
