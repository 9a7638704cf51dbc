//! The node as an operator meets it: real daemons, real QEMU, a real guest.
//!
//! Every case is a function that gets a node, or a cluster of three or five, changes only what it made itself, and says in its name
//! what holds. They run on two nodes, on each one after the other, and in labs beside the first of them; `main` speaks as much of libtest's command line as cargo and nextest use.

mod bad_input;
mod cases;
mod cli;
mod cluster;
mod console;
mod domain;
mod exits;
mod harness;
mod images;
mod life_cycle;
mod limits;
mod mount;
mod nodes;
mod python;
mod quick_start;
mod quorum;
mod soak;
mod survive;
mod volumes;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    match soak::Plan::asked() {
        Some(plan) => plan.run(),
        None => harness::run(cases::all(), cases::place),
    }
}
