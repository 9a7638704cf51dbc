//! The daemon inside a test: its real store, its real socket.

mod damage;
mod log;
mod node;
mod objects;
mod publish;
mod watch;
