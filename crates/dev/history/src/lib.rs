//! Histories of what clients asked of shared objects, and whether they are linearizable: whether every call can be thought to
//! have taken effect at one instant between its beginning and its end.
//!
//! Each object is a register of its own: linearizability is local, so a history holds if that of each object does, and each is
//! searched alone. The search is that of Wing and Gong with Lowe's memory of configurations seen, as `porcupine` has it. Of the
//! crates, `stateright` has a tester: it remembers nothing, so that a history with a violation in it, or with calls of which
//! nobody knows what became, takes time that grows exponentially with its length; and it brings an HTTP server along.
//!
//! Deliberately not here: making calls, clocks of several machines. All clients are threads of one process, which share a clock.
//!
//! **Invariant**: a call whose outcome is unknown may have happened at any time after it began, or not at all; what is certain
//! is never doubted on its account.

mod check;
mod model;
mod recorder;

pub use check::{Violation, check};
pub use model::{Action, Operation};
pub use recorder::Recorder;
