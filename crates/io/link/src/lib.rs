//! Conversations between nodes: mutual TLS 1.3, HTTP/2 streams for calls, raw streams for bulk.
//!
//! One [`Conversation`] is one stream of bytes each way, as a local socket is. Many of them share a [`Link`], a TLS
//! connection of one [`Class`]; bulk (migration, disks) has a TLS connection for each, so that it cannot starve anything.
//! Who dialled does not matter for who may open conversations: [`Class::Reverse`] lets the node that was dialled open them,
//! which reaches nodes that cannot be dialled themselves.
//!
//! Deliberately not here: what a conversation says, who may open which (the agent), where nodes are (the control plane).
//!
//! **Invariants**: nothing is handed out before the peer's certificate was verified, except to newcomers and renewals,
//! which are classes of their own; every handshake, header, stream and idle link is bounded ([`limits`]); both directions
//! of a conversation end together; what was cut off is told from what has ended.

mod bulk;
mod class;
mod conversation;
mod dial;
mod error;
mod gate;
pub mod limits;
mod link;
mod noted;
mod opening;
mod serve;
mod splice;

pub use bulk::{accept_bulk, open_bulk};
pub use class::Class;
pub use conversation::Conversation;
pub use dial::{Dialer, dial_to_ask, dial_to_join};
pub use error::{LinkError, Unwelcome};
pub use gate::{Accepted, Gate};
pub use link::Link;
pub use opening::Opening;
pub use serve::{Handler, serve};
pub use splice::{Spliced, splice};
