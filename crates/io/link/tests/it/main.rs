//! Nodes that talk over real connections on the loopback.

mod bulk;
mod conversations;
mod door;
mod world;
