//! The log of entries as this voter has it: what Raft's commands hold, and the state that they are applied to.

mod batch;
mod image;
mod machine;
mod recent;

pub(crate) use batch::{Batch, Blob};
pub(crate) use machine::{Applied, Decision, Log, Position, Replica};
pub(crate) use recent::Page;
