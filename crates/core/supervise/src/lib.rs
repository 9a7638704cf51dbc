//! Supervises one unit, as values: what happened goes in, what has to be done comes out.
//!
//! Deliberately not here: processes, clocks, sockets, files (see `acp-io-unit` and `services/framework`), and anything about
//! more than one unit except the order in which units start ([`start_order`]).
//!
//! **Invariants**: between one [`Output::Spawn`] and the next lies the end of the process before ([`Input::Exited`] or
//! [`Input::SpawnFailed`]), so a unit never has two main processes; a unit that was told to stop is not spawned again until
//! it is told to start; without an operator's command, at most [`ENDS_MAX`] unplanned ends of kind [`Verdict::Bug`] or
//! [`Verdict::Done`] happen within [`ENDS_WINDOW`]. Every (state, input) pair is decided: `tests/grid.txt` is the table.
//!
//! Driven by `services/framework`, which owns one [`Machine`] a unit, performs the outputs in their order and calls
//! [`Machine::step`] with [`Input::Tick`] when [`Machine::next_deadline`] has come.

mod machine;
mod order;
mod policy;

pub use machine::{Input, Machine, Output, Past};
pub use order::{OrderError, start_order};
pub use policy::{
    ENDS_MAX, ENDS_WINDOW, KILL_REPEAT, PAUSE_MAX, PAUSE_MIN, Policy, READY_RESETS, Readiness, Restart, Verdict,
    describe, judge,
};
