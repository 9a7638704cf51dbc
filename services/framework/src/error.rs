//! Errors on their way to a sentence.

use std::{error::Error, io, path::PathBuf};

use acp_io_cgroup::CgroupError;
use acp_io_unit::{ListenError, SpawnError};

/// Why a unit could not be prepared or started. Directories and sockets that were made stay; they are made again with the
/// next attempt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The template or the request names something that is not there.
    #[error("{0}")]
    Template(String),
    /// A path cannot be made or opened.
    #[error("cannot {action} {}", .path.display())]
    Path {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A device is missing.
    #[error("the device {} does not exist; {advice}", .path.display())]
    Device {
        /// The device.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// A descriptor that its owner passed is gone with an earlier framework.
    #[error("its descriptors were lost when the framework restarted; whoever owns the unit has to make it anew")]
    DescriptorsLost,
    /// What was left of the process before does not end.
    #[error("{0} processes of it do not end although they were killed")]
    Leftovers(usize),
    /// A test wanted it.
    #[error(transparent)]
    Injected(#[from] acp_io_failpoint::Injected),
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The control group.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The shim or the program.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

impl StartError {
    pub(crate) fn path(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Path { action, path, source }
    }
}

/// An error with everything below it: `cannot make /x: permission denied`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
