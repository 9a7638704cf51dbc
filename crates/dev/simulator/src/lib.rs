//! The control plane's cores together, under virtual time: the replicated state, the policy of voters, and leases, on seven nodes
//! whose messages are lost, late and out of order, whose network is cut, and which crash, stand still, and come back with old
//! disks. Everything follows from one seed.
//!
//! The log between them is a model of Raft in [`raft`], with elections, uncommitted tails and joint changes of voters. It stands for
//! openraft, which cannot run without a runtime and clocks of its own; `acp-io-raft`'s tests let storms loose on that. What is under
//! test here is ours: that replicas come to the same state from entries and from images, that the voters proposed never lose what
//! was committed, that no two nodes run a system.
//!
//! Deliberately not here: sockets, disks, processes (`tests/e2e`).
//!
//! **Invariants** are in `invariants`, one a file; each is looked at after every step.

mod dice;
pub mod invariants;
mod network;
mod node;
pub mod raft;
mod script;
mod world;

pub use world::{Summary, World};

/// Runs one seed to its end.
///
/// # Errors
/// Which invariant did not hold, when, and how to see it again.
pub fn run(seed: u64) -> Result<Summary, String> {
    World::new(seed)
        .run()
        .map_err(|broken| format!("seed {seed}: {broken}; again: ACP_SEED={seed} cargo test -p acp-dev-simulator"))
}
