//! The chassis: everything that two daemons would otherwise both have to write.
//!
//! A daemon implements [`Daemon`]; [`main`] reads arguments and configuration, starts logging and the runtime, takes the
//! sockets it inherits, answers Varlink calls through its [`Router`], says when it is ready, feeds the watchdog and drains
//! on SIGTERM. Deliberately not here: what any daemon is for.
//!
//! **Invariants**: no method is answered whose access was not checked; every connection, call and message is bounded;
//! a task is only started through [`Tasks`], so that a drain waits for it.

mod access;
mod arguments;
mod clock;
mod config;
mod context;
mod entry;
mod fatal;
mod listener;
mod notify;
mod router;
mod server;
mod tasks;
mod telemetry;

pub use access::{Caller, Identities};
pub use clock::{boot_now, new_uid, wall_now};
pub use context::{Context, Health, Paths};
pub use entry::{Daemon, main};
pub use fatal::Fatal;
pub use router::{Call, CallContext, Router, Sink};
pub use server::{Refusals, Server};
pub use tasks::Tasks;
