//! Why nodes do not talk.

use std::io;

use acp_base::{Code, Failure};
use acp_io_pki::Refusal;

/// Why a connection or conversation did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address does not answer. A retry can help.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
    /// It answers too slowly, or not at all after the connection stood. A retry can help.
    #[error("it does not answer within {0} ms")]
    TimedOut(u64),
    /// We do not accept its certificate. The peer's fault.
    #[error("it was refused: {0}")]
    Refused(Refusal),
    /// The peer ended the handshake: it does not accept ours, or speaks something else.
    #[error("the handshake failed")]
    Handshake(#[source] io::Error),
    /// It offers no class that we know.
    #[error("it speaks none of our protocols")]
    Protocol,
    /// Too many handshakes are under way from there, or this was the oldest of too many.
    #[error("too many handshakes are under way")]
    Crowded,
    /// As many conversations as the link allows are open. A retry can help.
    #[error("{0} conversations are open, as many as a link carries")]
    Full(u32),
    /// The link has ended. A retry can help: the next conversation dials again.
    #[error("the connection has ended")]
    Closed,
    /// The opening is larger than a header may be.
    #[error("an opening of {0} bytes is too long")]
    Oversized(usize),
    /// The other side's answer is none of ours.
    #[error("the answer is none of an agent")]
    Garbage,
    /// The other side turned the conversation away, for this reason.
    #[error("{0}")]
    Denied(Failure),
}

impl LinkError {
    /// The failure as a caller sees it who wanted to reach `node`.
    pub fn failure(self, node: &str) -> Failure {
        let code = match &self {
            Self::Denied(failure) => return failure.clone(),
            Self::TimedOut(_) => Code::DeadlineExceeded,
            Self::Refused(_) => Code::PermissionDenied,
            Self::Full(_) | Self::Crowded => Code::ResourceExhausted,
            Self::Oversized(_) => Code::InvalidArgument,
            Self::Protocol | Self::Garbage => Code::Unimplemented,
            Self::Unreachable(_) | Self::Handshake(_) | Self::Closed => Code::Unavailable,
        };
        let cause = std::error::Error::source(&self).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::new(code, format!("node {node}: {self}{cause}"))
    }

    /// What a failed handshake was: our refusal, or something else.
    pub(crate) fn of_handshake(error: io::Error) -> Self {
        Refusal::of(&error).map_or(Self::Handshake(error), Self::Refused)
    }
}

pub(crate) fn timed_out(limit: std::time::Duration) -> LinkError {
    LinkError::TimedOut(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}
