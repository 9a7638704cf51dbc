//! Calls to ACP's services over their local sockets.
//!
//! [`Client`] finds a service's socket, waits for it within the deadline, keeps idle connections for reuse and turns every
//! error into an [`acp_base::Failure`]. [`Reporter`] publishes a service's slots, [`ObjectWatch`] follows objects; both
//! survive restarts of the cluster service. Deliberately not here: calls to other nodes.
//!
//! **Invariant**: a call is sent twice only if it was surely not executed the first time, or changes nothing
//! ([`acp_wire_api::Scope::Read`]).

mod client;
mod conversation;
mod object_watch;
mod reporter;

pub use acp_io_varlink::Upgraded;
pub use client::{Client, DEADLINE_DEFAULT, Replies, ServiceClient};
pub use conversation::Conversation;
pub use object_watch::{ObjectEvent, ObjectWatch};
pub use reporter::Reporter;
