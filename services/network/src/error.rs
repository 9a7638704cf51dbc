//! Why a change of the node failed.

use std::{error::Error, io};

use acp_base::{Blame, Code, Failure};
use acp_io_netlink::{NetlinkError, TapError};

/// A step that was not performed. Nothing changed; the next reconcile tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// The link is not there (any more): somebody was faster.
    #[error("there is no link {0}")]
    Missing(String),
    /// The link is not ours (any more).
    #[error("the link {0} is not ACP's")]
    NotOurs(String),
    /// The kernel refused or did not answer.
    #[error("netlink")]
    Netlink(#[from] NetlinkError),
    /// A test wanted it.
    #[error(transparent)]
    Injected(#[from] acp_io_failpoint::Injected),
    /// A sysctl cannot be written.
    #[error("cannot write /proc/sys/{key}")]
    Sysctl {
        /// Its path below `/proc/sys`.
        key: String,
        /// Why.
        source: io::Error,
    },
}

/// A tap that was not handed out. Nothing changed: the tap went with its descriptor.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The call asks for what the specs do not name.
    #[error("{0}")]
    Asked(Failure),
    /// The network's bridge is missing.
    #[error("the network {network} is not up on this node: {reason}")]
    NoBridge {
        /// The network.
        network: String,
        /// Why.
        reason: String,
    },
    /// A link of the tap's name is there and is not ours.
    #[error("a link {0} exists that ACP did not make and leaves alone; delete it with: ip link delete {0}")]
    Clash(String),
    /// The kernel made none.
    #[error("cannot open the tap")]
    Tap(#[from] TapError),
    /// It could not be attached.
    #[error("cannot attach the tap")]
    Attach(#[from] StepError),
}

impl OpenError {
    /// Whether the system's last process still holds the tap.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Tap(TapError::Busy(_)))
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let message = chain(&error);
        match error {
            OpenError::Asked(failure) => failure,
            OpenError::NoBridge { .. } => Self::unavailable(message),
            OpenError::Clash(_) => Self::precondition(message).blame(Blame::Operator),
            OpenError::Tap(TapError::Busy(_)) => Self::precondition(message),
            OpenError::Tap(TapError::BadName(_)) => Self::internal(message),
            OpenError::Tap(TapError::Device(_) | TapError::Refused { .. }) => {
                Self::new(Code::FailedPrecondition, message).blame(Blame::Operator)
            }
            OpenError::Attach(_) => Self::unavailable(message),
        }
    }
}

/// An error with everything below it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(source) = below {
        text = format!("{text}: {source}");
        below = source.source();
    }
    text
}
