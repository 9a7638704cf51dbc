//! The daemon inside a test: its real record and authority, its real socket.

mod admission;
mod crash;
mod follow;
mod hostile;
mod keys;
mod node;
mod nodes;
mod peer;
mod propose;
mod quorum;
mod recovery;
mod renewal;
mod requests;
mod restart;
mod secrets;
mod session;
mod upgrade;
mod verdicts;
mod view;
mod watch;
mod world;
