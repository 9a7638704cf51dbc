//! Against the kernel, each test in a network namespace of its own. Needs root; says so and passes without.

mod links;
mod namespace;
mod taps;
