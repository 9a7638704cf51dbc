//! Real sockets, each test in a network namespace of its own. Needs root; says so and passes without.

mod namespace;
mod selftest;
mod size;
mod sockets;
