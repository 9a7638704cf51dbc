//! What can go wrong.

use std::{io, path::PathBuf};

/// A group cannot be made, changed or removed. Groups made before in other hierarchies stay; making again is harmless.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The mounts cannot be read.
    #[error("cannot read which control groups are mounted")]
    Mounts(#[source] io::Error),
    /// A file or folder refused.
    #[error("cannot {action} {}", .path.display())]
    Access {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Processes do not end or do not leave.
    #[error("{count} processes are still in {}", .path.display())]
    Busy {
        /// The group.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

impl CgroupError {
    pub(crate) fn access(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Access { action, path, source }
    }
}
