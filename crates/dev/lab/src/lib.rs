//! The lab: several nodes with networks between them on one machine, and ways to disturb them.
//!
//! Each node is one of [`acp_dev_testkit`], with a network namespace of its own. A namespace for the lab, the fabric, holds a
//! bridge for each domain and routes between them; nothing of the host's network is touched. Disturbances are nftables rules
//! in the nodes' namespaces, in a table of the lab's own, so that they stand beside whatever the nodes do there.
//!
//! Deliberately not here: any knowledge of what nodes say to each other beyond what an operator types to make them a
//! cluster, and building the programs (`cargo xtask lab`).
//!
//! **Invariants**: everything of a lab is found by its directory, so that any process can go on with it and take it down;
//! two labs never meet, because each has a fabric of its own; `down` leaves nothing but the nodes' directories.

mod cluster;
mod disturbance;
mod fabric;
mod lab;
mod member;
mod quorum;

pub use cluster::Standing;
pub use disturbance::{Disturbances, Loss, parse_cut};
pub use lab::{Lab, Plan};
pub use member::{Member, MemberName};
pub use quorum::{Quorum, quorum_of};
