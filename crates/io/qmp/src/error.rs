//! How connections and commands fail.

use std::{fmt, io, time::Duration};

/// QEMU's own classification of a refused command (`qapi/error.json`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// No other class fits; the description says what it is.
    GenericError,
    /// This QEMU does not know the command, or not in its present state.
    CommandNotFound,
    /// The device exists and is not active.
    DeviceNotActive,
    /// There is no such device.
    DeviceNotFound,
    /// The host's KVM lacks a capability.
    KvmMissingCap,
    /// A class this client does not know.
    Other(String),
}

impl ErrorClass {
    /// The class of this name.
    pub fn from_name(name: &str) -> Self {
        match name {
            "GenericError" => Self::GenericError,
            "CommandNotFound" => Self::CommandNotFound,
            "DeviceNotActive" => Self::DeviceNotActive,
            "DeviceNotFound" => Self::DeviceNotFound,
            "KVMMissingCap" => Self::KvmMissingCap,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotActive => "DeviceNotActive",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::KvmMissingCap => "KVMMissingCap",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes are no QMP message. The peer's fault; the connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No end of message within [`crate::MESSAGE_BYTES_MAX`].
    #[error("a message is longer than {max} bytes", max = crate::MESSAGE_BYTES_MAX)]
    TooLong,
    /// A line that is no JSON.
    #[error("a line is no JSON")]
    NotJson(#[source] serde_json::Error),
}

/// Why a connection could not be set up. Nothing was changed in QEMU; connecting again can help.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[source] io::Error),
    /// The peer closed before it was set up: QEMU ended, or serves another client.
    #[error("the peer closed the connection before it greeted")]
    Closed,
    /// The first message was no greeting.
    #[error("the peer is no QMP server: it did not begin with a greeting")]
    NotQmp,
    /// What came is no QMP.
    #[error("the peer does not speak QMP")]
    Decode(#[source] DecodeError),
    /// The greeting or the answer to it did not come in time.
    #[error("the peer did not complete the handshake within {0:?}")]
    TimedOut(Duration),
    /// The peer refused `qmp_capabilities`.
    #[error("the peer refused the handshake: {class}: {desc}")]
    Refused {
        /// QEMU's class.
        class: ErrorClass,
        /// QEMU's words.
        desc: String,
    },
}

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecuteError {
    /// QEMU refused it and changed nothing unless it says otherwise.
    #[error("QEMU refused {command}: {class}: {desc}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class.
        class: ErrorClass,
        /// QEMU's words.
        desc: String,
    },
    /// No answer in time; whether the command was or will be carried out is unknown.
    #[error("QEMU did not answer {command} within {limit:?}")]
    TimedOut {
        /// The command.
        command: String,
        /// The time it had.
        limit: Duration,
    },
    /// The connection ended first; whether the command was carried out is unknown.
    #[error("the connection to QEMU ended before {command} was answered")]
    Closed {
        /// The command.
        command: String,
    },
    /// The command is longer than [`crate::MESSAGE_BYTES_MAX`] and was not sent.
    #[error("{command} is too long with {bytes} bytes")]
    TooLong {
        /// The command.
        command: String,
        /// Its length.
        bytes: usize,
    },
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    /// QEMU closed it, most likely because its process ended.
    #[error("QEMU closed the connection")]
    ByPeer,
    /// Every client handle was dropped.
    #[error("nobody uses the connection any more")]
    ByUs,
    /// The socket failed.
    #[error("the socket failed")]
    Io(#[source] io::Error),
    /// What came is no QMP.
    #[error("QEMU sent what is no message")]
    Decode(#[source] DecodeError),
}
