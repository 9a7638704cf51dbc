//! Calls to ACP's services, on this node and on others.
//!
//! [`Client`] finds a service: at its socket, or through the agent's, which makes the connection a conversation with a
//! service on another node ([`acp_wire_api::routing`] says which need that). It waits within the deadline for what is not
//! there yet, keeps idle connections for reuse and turns every error into an [`acp_base::Failure`]. [`Reporter`] publishes
//! a service's slots, [`ObjectWatch`] follows objects; both survive restarts of the cluster service. Deliberately not here:
//! links between nodes and who may do what, which are the agent's; typed operations, which are `acp-client`'s.
//!
//! **Invariants**: a call is sent twice only if it was surely not executed the first time, or changes nothing
//! ([`acp_wire_api::Scope::Read`]). The secret of a key is shown to the agent and to nobody else, in no log and no message.

mod client;
mod conversation;
mod declared;
mod idle;
pub mod key_file;
mod node_name;
mod object_watch;
mod open;
mod pause;
mod replies;
mod reporter;
mod route;
mod service;
mod trace;

pub use acp_io_varlink::{Trace, Upgraded};
pub use client::Client;
pub use conversation::Conversation;
pub use declared::find_declared;
pub use node_name::node_name;
pub use object_watch::{ObjectEvent, ObjectWatch};
pub use replies::Replies;
pub use reporter::Reporter;
pub use service::{DEADLINE_DEFAULT, ServiceClient};
pub use trace::CallTrace;
