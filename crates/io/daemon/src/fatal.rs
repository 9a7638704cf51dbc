//! How a daemon ends when it cannot go on, in the terms of the supervisor's exit-code contract.

use std::process::ExitCode;

/// Why a daemon ends. The exit status tells the supervisor what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The configuration or the stored state must be corrected by somebody first; not restarted (78).
    #[error("{0}")]
    Config(String),
    /// It may pass; restarted with growing pauses (75).
    #[error("{0}")]
    Temporary(String),
    /// A defect; restarted with growing pauses and counted (70).
    #[error("{0}")]
    Internal(String),
}

impl Fatal {
    /// Somebody has to correct something.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config(message.into())
    }

    /// It may pass.
    pub fn temporary(message: impl Into<String>) -> Self {
        Self::Temporary(message.into())
    }

    /// A defect.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::Internal(message.into())
    }

    /// The process's exit status.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Config(_) => 78,
            Self::Temporary(_) => 75,
            Self::Internal(_) => 70,
        })
    }
}
