//! The whole daemon inside a test, in a network namespace of its own, between a cluster service and a framework that the
//! test plays. Needs root; says so and passes without.

mod dhcp;
mod filter;
mod harness;
mod networks;
mod peers;
mod taps;
