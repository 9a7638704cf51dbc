//! Nodes under virtual time: datagrams are lost (one by one and in bursts), late, doubled and out of order; the network parts,
//! multicast fails between some pairs; nodes crash, come back, also with an old incarnation, and join late. An invariant a file; the
//! nodes and the network are `crates/dev/domain`.
//!
//! `ACP_SIM_SEEDS` and `ACP_SIM_NODES` make the runs more and larger; `ACP_SIM_SEED` lives through one alone.

mod ages;
mod bounds;
mod bytes;
mod converge;
mod deleted;
mod domains;
mod incarnation;
mod script;

use acp_dev_domain::{network, relays, world};
