//! Why something could not be done.

use std::path::{Path, PathBuf};

use acp_base::Uid;
use acp_io_store::StoreError;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operator's: a newer version of ACP has been here.
    #[error(
        "{} has layout {found}, this version of ACP knows up to {known}: install the newer version again, or move the directory away and let this node be a voter anew",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The layout found.
        found: i64,
        /// The newest layout known here.
        known: i64,
    },
    /// The operator's: the file is some other program's.
    #[error("{} is an SQLite database, but not this log: move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The operator's: the log is another node's.
    #[error("{} is the log of node {found}, this is node {node}: move it away", path.display())]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: Uid,
        /// Who this is.
        node: Uid,
    },
    /// The operator's: stored bytes are not what was written.
    #[error(
        "{} is damaged: {what}; move the directory away and let this node be a voter anew, or restore the cluster from a backup if it is the only one",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which row.
        what: String,
    },
    /// The operator's: the write-ahead log is damaged.
    #[error(transparent)]
    LogDamaged(StoreError),
    /// The operator's: there is no room. A retry helps once there is.
    #[error("there is no room left on the file system of {}: make room", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The disk or the file system failed. A retry helps once it works.
    #[error("cannot {doing}: {reason}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// What was said.
        reason: String,
    },
    /// The caller's: the times do not go together.
    #[error("the lease must be at least twice the heartbeat")]
    Times,
}

/// Why no group was founded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The caller's: this node has a group already.
    #[error("this node belongs to group {0} already")]
    Founded(Uid),
    /// The caller's: these bytes are no image.
    #[error("the image cannot be used: {0}")]
    Image(String),
    /// The store failed. A retry helps once it works.
    #[error("the log cannot be written: {0}")]
    Failed(String),
    /// It was shut down.
    #[error("the log is closed")]
    Ended,
}

/// Why a proposal has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The other's turn: this node does not lead. Nothing was changed.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Uid>,
    },
    /// It was taken into the log, and what became of it is not known: it may be committed now, later, or never.
    #[error("the proposal was not confirmed: {0}")]
    Unknown(String),
    /// There is no room for it on the disk of the only voter. Nothing was changed; a retry helps once there is.
    #[error("there is no room left on the file system of {}: make room", .0.display())]
    Full(PathBuf),
    /// The store failed before the proposal was taken. Nothing was changed; a retry helps once the disk works.
    #[error("the log cannot be written: {0}")]
    Failed(String),
    /// It was shut down. Nothing was changed.
    #[error("the log is closed")]
    Ended,
}

/// Why a read has no index.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The other's turn: this node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Uid>,
    },
    /// No majority answers. A retry helps once one does.
    #[error("no majority of the voters answers")]
    NoQuorum,
    /// The entry was not applied within the limit.
    #[error("entry {0} is not applied yet")]
    Behind(u64),
    /// The store failed. A retry helps once it works.
    #[error("the log cannot be read: {0}")]
    Failed(String),
    /// It was shut down.
    #[error("the log is closed")]
    Ended,
}

/// Why the group was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The other's turn: this node does not lead. Nothing was changed.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Uid>,
    },
    /// Another change is under way. A retry helps once it is committed.
    #[error("another change of the group is under way")]
    Busy,
    /// The caller's: this node was never made a learner.
    #[error("node {0} is no learner yet")]
    NotLearner(Uid),
    /// The caller's: a group has at least one voter.
    #[error("a group has at least one voter")]
    Empty,
    /// What became of the change is not known; look at the status.
    #[error("the change was not confirmed: {0}")]
    Unknown(String),
    /// The store failed. A retry helps once it works.
    #[error("the log cannot be written: {0}")]
    Failed(String),
    /// It was shut down.
    #[error("the log is closed")]
    Ended,
}

/// Why leadership was not handed over. This node leads on, unless another was elected.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The other's turn: this node does not lead.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, as far as this node knows.
        leader: Option<Uid>,
    },
    /// Another transfer is under way.
    #[error("leadership is being handed over already")]
    Busy,
    /// The caller's: only another voter can lead.
    #[error("node {0} is no other voter")]
    NotVoter(Uid),
    /// It does not hold the whole log in time.
    #[error("node {0} does not catch up")]
    Behind(Uid),
    /// It was not elected in time; `leader` leads.
    #[error("node {to} was not elected")]
    NotElected {
        /// Who was to lead.
        to: Uid,
        /// Who does.
        leader: Option<Uid>,
    },
    /// The store failed.
    #[error("the log cannot be used: {0}")]
    Failed(String),
    /// It was shut down.
    #[error("the log is closed")]
    Ended,
}

impl OpenError {
    /// A failure of SQLite while `doing` something, told apart by whom it concerns.
    pub(crate) fn sqlite(path: &Path, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full { path: path.to_owned() },
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Damaged { path: path.to_owned(), what: source.to_string() }
            }
            _ => Self::Store { doing, reason: source.to_string() },
        }
    }

    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Store { doing, reason: source.to_string() }
    }

    pub(crate) fn closed() -> Self {
        Self::Store { doing: "use the log", reason: "it is closed".into() }
    }

    /// Whether stored data is lost, so that a restart cannot help.
    pub const fn is_data_loss(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::LogDamaged(_))
    }
}

/// Why a node cannot be used just now.
pub(crate) enum Closed {
    Failed(String),
    Ended,
}

macro_rules! from_closed {
    ($($error:ident),*) => {$(
        impl From<Closed> for $error {
            fn from(closed: Closed) -> Self {
                match closed {
                    Closed::Failed(reason) => Self::Failed(reason),
                    Closed::Ended => Self::Ended,
                }
            }
        }
    )*};
}

from_closed!(ProposeError, ReadError, ChangeError, TransferError);
