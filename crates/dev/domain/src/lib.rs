//! The nodes of a domain, or of several joined by relays, that tell each other their slots, on virtual time: real replication (`core/sync`), and a network that
//! loses, delays, doubles and cuts as it is told.
//!
//! Deliberately not here: what is expected of them, which tests and benches say, and sealing, which is `io/datagram`'s.
//!
//! **Invariant**: the same seed makes the same world.

pub mod network;
pub mod node;
pub mod relays;
pub mod scale;
mod told;
pub mod world;
