//! The machine of one system: what was asked of it against what is observed of it, and what is to be done next.
//!
//! Beside the machine stand the pure functions it needs to be put into practice: [`command_line`] turns a spec into QEMU's
//! arguments, [`limits`] says whether the host has the memory, [`exit`] says why a QEMU ended.
//!
//! Deliberately not here: sockets, files, clocks, jobs, wire types of other services. The hypervisor drives a [`System`]
//! by feeding it [`Input`]s and performing the [`Effect`]s in their order.
//!
//! **Invariants**, each held by a property test:
//! - a guest whose processors ran and whose power intent is on is never ended by the machine, also not when the machine
//!   itself is thrown away and built again from its [`Durable`] part;
//! - [`Effect::Save`] comes before every effect that relies on what it saves;
//! - no step is asked for again while its answer is outstanding, and units are never removed while one is being spawned,
//!   so two QEMUs of one system never exist;
//! - every task that was begun is finished exactly once.

pub mod command_line;
pub mod exit;
pub mod limits;
pub mod policy;

mod admit;
mod effect;
mod input;
mod machine;

pub use admit::Verdict;
pub use effect::{Durable, Effect, Report, Step, Task};
pub use input::{Guest, Input, Sight};
pub use machine::{Origin, System};
