//! Why the daemon cannot go on, and what a caller hears of the store.

use std::error::Error;

use acp_base::{Change, Code, Failure, Name};
use acp_core_cdb::SnapshotError;
use acp_io_daemon::Fatal;
use acp_io_store::StoreError;

/// Why the daemon ends. No state was changed by what failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The store cannot be opened, believed or written.
    #[error("the cluster database cannot be used")]
    Store(#[source] StoreError),
    /// The stored snapshot is not one of ours.
    #[error("the cluster database's snapshot cannot be used")]
    Snapshot(#[from] SnapshotError),
    /// The database is another node's.
    #[error(
        "the cluster database belongs to node {stored}, this node is called {given}: give the node its name back, or move the database away"
    )]
    OtherNode {
        /// The node that the database was founded by.
        stored: Name,
        /// The name given now.
        given: Name,
    },
    /// The socket cannot be served.
    #[error(transparent)]
    Serve(#[from] Fatal),
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl RunError {
    /// Whether a restart cannot help, because somebody has to correct something first.
    pub(crate) const fn is_for_the_operator(&self) -> bool {
        match self {
            Self::Store(error) => {
                error.is_data_loss() || matches!(error, StoreError::Newer { .. } | StoreError::Foreign { .. })
            }
            Self::Snapshot(_) | Self::OtherNode { .. } => true,
            Self::Serve(fatal) => matches!(fatal, Fatal::Config(_)),
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

/// What a caller hears when reading the store failed.
pub(crate) fn read_failure(error: &StoreError) -> Failure {
    let message = sentence(error);
    match error {
        StoreError::Compacted { .. } => Failure::precondition(message),
        error if error.is_data_loss() => Failure::new(Code::DataLoss, message),
        StoreError::Closed => Failure::unavailable("the cluster service is ending"),
        StoreError::Full | StoreError::Sqlite { .. } | StoreError::Io { .. } => Failure::unavailable(message),
        _ => Failure::internal(message),
    }
}

/// What a proposer hears when its entry could not be stored.
pub(crate) fn write_failure(error: &StoreError) -> Failure {
    let message = sentence(error);
    match error {
        StoreError::Full => Failure::new(Code::ResourceExhausted, message),
        _ => Failure::unavailable(message).changed(Change::Unknown),
    }
}
