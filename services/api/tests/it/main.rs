//! The whole API inside a test: real HTTP, the real chassis and client, and services that the test plays on two nodes. The
//! agent stands in for the product's: it knows keys, names the principal and carries bytes from socket to socket.

mod access;
mod bounds;
mod document;
mod harness;
mod history;
mod http;
mod idempotency;
mod peers;
mod resources;
mod schemathesis;
mod watches;
