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
mod reader;
mod socket;
mod upgraded;
mod writer;

pub use budget::{Account, Budget, HeldMax, Purpose};
pub use frames::weight;
pub use message::{
    CallContext, IncomingCall, IncomingReply, OutgoingCall, OutgoingReply, REASON_BYTES_MAX, Trace, shorten,
};
pub use reader::{ReadError, Reader};
pub use socket::{Peer, split};
pub use upgraded::Upgraded;
pub use writer::{Writer, limit_send_buffer};
