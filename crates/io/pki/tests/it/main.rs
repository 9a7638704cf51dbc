//! Real handshakes between real keys, in memory.

mod files;
mod handshakes;
mod world;
