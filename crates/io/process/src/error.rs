//! Why a tool could not do its work.

use std::{io, process::ExitStatus, time::Duration};

use acp_base::{Blame, Change, Code, Failure};

/// A run of a tool that did not succeed. None of them is the fault of the tool's caller's caller; whether state changed
/// depends on the tool.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there. Nothing changed; the operator installs it.
    #[error("{program} is not installed on this host: install the package that provides it")]
    NotInstalled {
        /// The program.
        program: String,
    },
    /// The kernel refused to start it. Nothing changed; may pass when memory or processes were short.
    #[error("{program} could not be started")]
    Start {
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It was killed at its time limit. What it had done stays.
    #[error("{program} did not end within {} ms and was killed", limit.as_millis())]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        limit: Duration,
    },
    /// It wrote more than it may and was killed. What it had done stays.
    #[error("{program} wrote more than {bytes_max} bytes to its standard output and was killed")]
    TooMuchOutput {
        /// The program.
        program: String,
        /// The bound.
        bytes_max: usize,
    },
    /// It ended without success; what it said of it is part of the sentence.
    #[error("{program} failed ({status}){}", said(stderr))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error, without trailing white space.
        stderr: String,
    },
    /// Its streams could not be read.
    #[error("the output of {program} could not be read")]
    Pipe {
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

impl ProcessError {
    /// What the tool said on its standard error, if it ended by itself.
    pub fn stderr(&self) -> &str {
        match self {
            Self::Failed { stderr, .. } => stderr,
            Self::NotInstalled { .. }
            | Self::Start { .. }
            | Self::TimedOut { .. }
            | Self::TooMuchOutput { .. }
            | Self::Pipe { .. } => "",
        }
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message = format!("{message}: {source}");
        }
        match error {
            ProcessError::NotInstalled { .. } => Self::new(Code::FailedPrecondition, message).blame(Blame::Operator),
            ProcessError::Start { .. } => Self::new(Code::Unavailable, message),
            ProcessError::TimedOut { .. } => Self::new(Code::DeadlineExceeded, message).changed(Change::Unknown),
            ProcessError::TooMuchOutput { .. } => Self::new(Code::ResourceExhausted, message).changed(Change::Unknown),
            ProcessError::Failed { .. } | ProcessError::Pipe { .. } => {
                Self::new(Code::Internal, message).changed(Change::Unknown)
            }
        }
    }
}
