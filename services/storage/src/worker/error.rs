//! Why a worker's operation failed.

use std::io;

use acp_base::{Blame, ByteSize, Code, Failure, Uid};
use acp_core_storeplan::{ChainError, InspectError, Place, SizeError, SourceError};
use acp_io_failpoint::Injected;
use acp_io_process::ProcessError;

/// A worker's operation that failed. Unless a variant says otherwise nothing changed: what was begun is removed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The directory belongs to somebody else. The operator's to correct.
    #[error("the pool's directory {path} cannot be used by the storage service: run `chown {uid} {path}`")]
    Permission {
        /// The directory.
        path: String,
        /// Who has to own it.
        uid: u32,
    },
    /// The directory is not there and cannot be made.
    #[error("the pool's directory {path} is not there and cannot be made: make it and run `chown {uid} {path}`")]
    Missing {
        /// The directory.
        path: String,
        /// Who has to own it.
        uid: u32,
    },
    /// The directory was a pool and is none now.
    #[error("the directory {0} does not hold the pool any more: mount its file system")]
    NotMounted(String),
    /// The directory holds other files.
    #[error("the directory {path} is not empty (it holds {entry:?}): a pool needs a directory of its own")]
    NotEmpty {
        /// The directory.
        path: String,
        /// One of its entries.
        entry: String,
    },
    /// The directory is another pool's.
    #[error("the directory {path} belongs to the pool with the uid {owner}; to take it over, remove {path}/.acp-pool")]
    Foreign {
        /// The directory.
        path: String,
        /// Whose it is.
        owner: String,
    },
    /// The mark is not one that this version writes.
    #[error(
        "the mark {path}/.acp-pool holds {found:?} and not a pool's uid, which is all that this version of ACP (layout 1) knows: install the newer version again; if the mark is damaged, write {uid} into it"
    )]
    Mark {
        /// The directory.
        path: String,
        /// What the mark holds.
        found: String,
        /// The pool that looked.
        uid: Uid,
    },
    /// A system call failed.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system is full, or would be.
    #[error("the pool has too little space: {free} can be used{}; delete volumes or images, or enlarge its file system", needed.map(|needed| format!(" and {needed} are needed")).unwrap_or_default())]
    NoSpace {
        /// What new files may take.
        free: ByteSize,
        /// What this one needs, if known.
        needed: Option<ByteSize>,
    },
    /// Files that hang together wrongly, or forbid the operation.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A size that cannot be.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A file that is no image.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// A URL or a checksum that is none.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A parameter that is wrong in itself.
    #[error("{0}")]
    Invalid(String),
    /// A file of that name, with other properties.
    #[error("{place} exists already, {difference}")]
    Exists {
        /// The file.
        place: Place,
        /// How it differs.
        difference: String,
    },
    /// A process has the file open for writing.
    #[error("{0} is in use: stop the system that uses it, or wait until it is copied")]
    InUse(Place),
    /// The content is not what was announced.
    #[error("the file has the SHA-256 {found}, not {wanted}: the source is damaged or another one")]
    Checksum {
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// The content does not verify.
    #[error("the qcow2 image is damaged or cut off: qemu-img check counts {0} errors in it")]
    Damaged(u64),
    /// More than may be imported.
    #[error("the file is larger than {0}, the most that is imported")]
    TooLarge(ByteSize),
    /// The source gives nothing.
    #[error("the source gave no data for {0} s")]
    Stalled(u64),
    /// The server did not give the file.
    #[error("the download failed: {0}")]
    Download(String),
    /// The caller went away.
    #[error("the operation was cancelled")]
    Cancelled,
    /// A tool failed.
    #[error("{doing} failed")]
    Tool {
        /// What was being done.
        doing: &'static str,
        /// How.
        source: ProcessError,
    },
    /// A panic.
    #[error("a file operation ended unexpectedly: {0}")]
    Defect(String),
}

impl WorkerError {
    /// A failed system call.
    pub(super) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing: doing.into(), source }
    }

    /// A failed system call by rustix.
    pub(super) fn errno(doing: impl Into<String>) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io { doing: doing.into(), source: errno.into() }
    }

    fn code(&self) -> Code {
        match self {
            Self::Permission { .. }
            | Self::Missing { .. }
            | Self::NotMounted(_)
            | Self::NotEmpty { .. }
            | Self::Foreign { .. }
            | Self::Mark { .. }
            | Self::InUse(_) => Code::FailedPrecondition,
            Self::Io { source, .. } => io_code(source),
            Self::NoSpace { .. } | Self::TooLarge(_) => Code::ResourceExhausted,
            Self::Chain(ChainError::Missing(_)) => Code::NotFound,
            Self::Chain(_) => Code::FailedPrecondition,
            Self::Size(_) | Self::Inspect(_) | Self::Source(_) | Self::Invalid(_) => Code::InvalidArgument,
            Self::Checksum { .. } | Self::Damaged(_) => Code::InvalidArgument,
            Self::Exists { .. } => Code::AlreadyExists,
            Self::Stalled(_) | Self::Download(_) => Code::Unavailable,
            Self::Cancelled => Code::Cancelled,
            Self::Tool { .. } | Self::Defect(_) => Code::Internal,
        }
    }

    fn is_operators(&self) -> bool {
        matches!(
            self,
            Self::Permission { .. }
                | Self::Missing { .. }
                | Self::NotMounted(_)
                | Self::NotEmpty { .. }
                | Self::Foreign { .. }
                | Self::Mark { .. }
                | Self::Io { .. }
        )
    }
}

fn io_code(error: &io::Error) -> Code {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Code::ResourceExhausted
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::FailedPrecondition,
        _ => Code::Unavailable,
    }
}

impl From<Injected> for WorkerError {
    fn from(injected: Injected) -> Self {
        Self::io("go on")(injected.into())
    }
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        if let WorkerError::Tool { doing, source } = error {
            return Self::from(source).context(format!("{doing} failed"));
        }
        let mut message = error.to_string();
        if let WorkerError::Io { source, .. } = &error {
            message = format!("{message}: {source}");
        }
        let failure = Self::new(error.code(), message);
        if error.is_operators() { failure.blame(Blame::Operator) } else { failure }
    }
}
