//! Every Varlink interface of ACP: one module each, with its methods, their requests and replies, and who may call them.
//!
//! Deliberately not here: how a call travels (`acp-io-varlink`), who answers it (`services/*`).
//!
//! **Invariants**: a method cannot be declared without its access; a request refuses keys it does not know; the interface
//! text that a socket answers is generated from these very types.

#[macro_use]
mod interface;

pub mod agent;
pub mod cluster;
pub mod daemon;
pub mod error;
pub mod framework;
pub mod hub;
pub mod hypervisor;
pub mod jobs;
pub mod network;
pub mod principal;
pub mod routing;
pub mod storage;
pub mod vmm;
pub mod worker;

pub use interface::{Access, Empty, Flavor, Interface, Method, MethodDescription, Scope};

/// Every interface, for documentation and for tests that walk them all.
pub fn all() -> Vec<Interface> {
    vec![
        agent::interface(),
        cluster::interface(),
        daemon::interface(),
        error::interface(),
        framework::interface(),
        hub::interface(),
        hypervisor::interface(),
        jobs::interface(),
        network::interface(),
        storage::interface(),
        vmm::interface(),
        worker::interface(),
    ]
}
