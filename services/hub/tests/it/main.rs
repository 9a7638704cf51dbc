//! The daemon inside a test: its real record and authority, its real socket.

mod admission;
mod crash;
mod node;
mod nodes;
mod peer;
mod renewal;
mod restart;
mod secrets;
mod watch;
