//! Why the daemon cannot go on, and what a caller hears of the store.

pub(crate) use acp_base::sentence;
use acp_base::{Code, Failure, Name};
use acp_core_cdb::SnapshotError;
use acp_io_daemon::Fatal;
use acp_io_record::RecordError;
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
    /// Who this node is cannot be read.
    #[error("who this node is cannot be read: {0}")]
    Record(#[from] RecordError),
    /// Who this node is cannot be written down.
    #[error("who this node is cannot be written down")]
    Identity(#[source] std::io::Error),
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
            Self::Record(error) => error.is_for_the_operator(),
            Self::Identity(_) => false,
            Self::Serve(fatal) => matches!(fatal, Fatal::Config(_)),
        }
    }
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
