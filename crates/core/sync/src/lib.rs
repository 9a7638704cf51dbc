//! Slot replication: what the reporters of one node say, on every node of its domain.
//!
//! An **origin** is one life of a node. It numbers what it sends; a message names all that stands under a range of these
//! numbers, so that a receiver knows what it lacks and asks for it, and an answer holds what is newest, never history. Nothing
//! is merged by clock or value: of two values of a slot the one with the higher incarnation, then the higher sequence, counts.
//!
//! ```text
//!  publish ─▶ coalesced, budgeted ─▶ Delta ──▶ group (and by unicast whom it does not reach)
//!                                    Digest ─▶ group: newest, count, hash
//!                 a gap: Nack ◀── jittered ── receiver
//!                 Delta, repeated ─▶ group, or the one who lacks much
//!  Summary ─▶ one other node, in turn: what I hold of whom ─▶ Delta, relayed, of those that I do not hear
//! ```
//!
//! Nodes of other **domains** are heard by relays, which tell of them what is state and leave measurements out:
//!
//! ```text
//!  origin ─▶ its domain's group ─▶ any node there ── link ─▶ relay here ─▶ this domain's group
//! ```
//!
//! Deliberately not here: sockets, sealing and replay ([`Sync::receive`] is given who sent a message), who is a member and of which
//! domain, who is a relay, whether a node lives, what values mean. Slots are hints: leases, restarts elsewhere and authorisation never rest on them.
//!
//! **Invariant**: replicas that hear each other, or a node that hears both, come to hold the same; what was deleted does not come
//! back; nothing of a lower incarnation is taken; and without loss a node sends in proportion to its own changes, whatever the
//! number of nodes.

mod counters;
pub mod limits;
mod links;
mod pack;
mod publisher;
mod random;
mod ranges;
mod relaying;
mod repeats;
mod replica;
mod slot;
mod sync;
pub mod wire;

pub use counters::Counters;
pub use limits::{Budget, Config};
pub use links::LinkId;
pub use publisher::PublishError;
pub use ranges::{Range, Ranges};
pub use repeats::To;
pub use replica::{OriginState, Slot};
pub use slot::{Hash, Origin, Rolling, SlotKey};
pub use sync::{Effect, Mode, Refused, Sync};
