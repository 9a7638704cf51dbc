//! The whole daemon inside a test: with a scripted QEMU, and with a real one.

mod fake;
mod lease;
mod real;
mod vmm;
