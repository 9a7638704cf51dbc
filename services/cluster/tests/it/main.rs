//! The daemon inside a test: its real store, its real socket.

mod cluster;
mod damage;
mod history;
mod log;
mod node;
mod objects;
mod publish;
mod source;
mod watch;
