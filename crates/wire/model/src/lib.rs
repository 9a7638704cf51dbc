//! The object kinds of ACP as they stand in the log, in slots and in replies.
//!
//! Deliberately not here: methods (see `acp-wire-api`), decisions, I/O.
//!
//! **Invariants**: every type reads what an older version wrote (new fields are optional or have a default) and a name on
//! the wire, once released, keeps its meaning. Sizes are in bytes, times in milliseconds, unless the name says otherwise.

pub mod entry;
pub mod image;
pub mod job;
mod merge;
pub mod network;
pub mod node;
pub mod object;
pub mod pool;
pub mod system;
pub mod unit;
pub mod volume;

pub use merge::merge;
pub use object::{Kind, Object, Slot};
