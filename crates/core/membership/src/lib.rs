//! Who is a member of the cluster, and who may do what: the decisions, without I/O.
//!
//! [`State`] is what the cluster agrees on; [`State::apply`] decides a [`Command`] and either changes the state or answers a
//! [`Rejection`] and changes nothing. Time, ids and digests of secrets come in as values, so that every replica decides the
//! same. Carried by the log: every replica of the
//! database applies the commands to its own copy. [`voters::plan`] says who shall vote. Deliberately not here: certificates and who may ask
//! (the hub and the chassis), who is online (an observation, not a decision).
//!
//! **Invariants** ([`State::verify`] checks them): no two members share an id, a name, an address or a public key; no two
//! keys share a name or a secret; a node that is gone comes back under its id with the key it had alone, by [`Command::Rejoin`] or an
//! approved [`Command::Ask`]; where there is a cluster there is a controller; secrets are known by their SHA-256 alone; every list is bounded ([`limits`]). The revision grows by one with
//! each change of the [directory](State::directory) and with nothing else.

mod admission;
mod apply;
mod command;
mod digest;
mod filter;
pub mod limits;
mod members;
mod metadata;
mod rejection;
mod requests;
pub mod roles;
mod state;
mod verify;
pub mod voters;

pub use admission::Plan;
pub use command::{Command, NewKey, NewNode, NewToken, Outcome, RootKey};
pub use digest::Digest;
pub use filter::{Filter, FilterError};
pub use rejection::Rejection;
pub use state::{Founded, Key, Member, Removed, Request, State, Token, root_key_name};
pub use verify::Inconsistency;
