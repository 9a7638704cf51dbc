//! Varlink messages over a Unix socket: what both ends of a conversation share.
//!
//! zlink gives framing, file descriptors and credentials; the messages are written here, whole and in one go, because
//! zlink's own writer serialises a growing message again and again (see `docs/adr/0001`). Deliberately not here: dispatch
//! (`acp-io-daemon`), connecting and retrying (`acp-io-client`).
//!
//! **Invariant**: a message larger than the reader's bound is never held in memory whole: reading ends with
//! [`ReadError::TooLarge`].

mod message;
mod socket;
mod upgraded;

pub use message::{CallContext, IncomingCall, IncomingReply, OutgoingCall, OutgoingReply};
pub use socket::{Peer, ReadError, Reader, Writer, split};
pub use upgraded::Upgraded;
