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
    /// The peer does not accept ours. Only an expired one can mend itself, by renewal.
    #[error("it does not accept this node: {0}")]
    Unwelcome(Unwelcome),
    /// The peer ended the handshake, or speaks something else.
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
            Self::Refused(_) | Self::Unwelcome(_) => Code::PermissionDenied,
            Self::Full(_) | Self::Crowded => Code::ResourceExhausted,
            Self::Oversized(_) => Code::InvalidArgument,
            Self::Protocol | Self::Garbage => Code::Unimplemented,
            Self::Unreachable(_) | Self::Handshake(_) | Self::Closed => Code::Unavailable,
        };
        let cause = std::error::Error::source(&self).map(|cause| format!(": {cause}")).unwrap_or_default();
        Failure::new(code, format!("node {node}: {self}{cause}"))
    }

    /// What a failed handshake was: our refusal, theirs, or something else.
    pub(crate) fn of_handshake(error: io::Error) -> Self {
        match (Refusal::of(&error), Unwelcome::of(&error)) {
            (Some(refusal), _) => Self::Refused(refusal),
            (None, Some(unwelcome)) => Self::Unwelcome(unwelcome),
            (None, None) => Self::Handshake(error),
        }
    }

    /// What ended a connection that had stood on our side: in TLS 1.3 a client hears only then that it was refused.
    pub(crate) fn of_ended(error: &io::Error) -> Self {
        Unwelcome::of(error).map_or(Self::Closed, Self::Unwelcome)
    }
}

/// Why a peer does not accept our certificate, as far as its alert tells (RFC 8446, 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// `certificate_expired`.
    #[error("by its clock this node's certificate has expired or is not valid yet")]
    Expired,
    /// `certificate_unknown`, by which our verifiers say that a node is of the authority and no member.
    #[error("this node was removed from the cluster")]
    Removed,
    /// `unknown_ca`, `decrypt_error`, `certificate_required` and others.
    #[error("this node's certificate is not one of its cluster")]
    Stranger,
}

impl Unwelcome {
    fn of(error: &io::Error) -> Option<Self> {
        use rustls::AlertDescription as Alert;
        let rustls::Error::AlertReceived(alert) = error.get_ref()?.downcast_ref::<rustls::Error>()? else {
            return None;
        };
        match alert {
            Alert::CertificateExpired => Some(Self::Expired),
            Alert::CertificateUnknown | Alert::CertificateRevoked => Some(Self::Removed),
            Alert::UnknownCA
            | Alert::DecryptError
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRequired
            | Alert::AccessDenied => Some(Self::Stranger),
            _ => None,
        }
    }
}

pub(crate) fn timed_out(limit: std::time::Duration) -> LinkError {
    LinkError::TimedOut(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}
