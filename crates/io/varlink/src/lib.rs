//! Varlink messages over a Unix socket: what both ends of a conversation share.
//!
//! Framing, bounds and descriptors are written here rather than taken from zlink (see `docs/adr/0001`). Deliberately not
//! here: dispatch (`acp-io-daemon`), connecting and retrying (`acp-io-client`).
//!
//! **Invariants**: a message larger than the reader's bound is never held in memory whole; what all connections of a daemon
//! hold together has a bound, too ([`Budget`]); a message once begun is whole within a bounded time.

mod budget;
mod frames;
mod message;
mod socket;
mod upgraded;

pub use budget::{Account, Budget, HeldMax, Purpose};
pub use message::{
    CallContext, IncomingCall, IncomingReply, OutgoingCall, OutgoingReply, REASON_BYTES_MAX, shorten,
};
pub use socket::{Peer, ReadError, Reader, Writer, limit_send_buffer, split};
pub use upgraded::Upgraded;
