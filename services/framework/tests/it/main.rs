//! The framework as a process, with real shims and units. Everything here needs root and is skipped aloud without.

mod adoption;
mod harness;
mod lifecycle;
mod logs;
mod peers;
mod play;
mod rename;
mod requests;
mod roles;
