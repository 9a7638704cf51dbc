//! One replicated log: openraft 0.9.25 behind an adapter, its log and snapshots in SQLite.
//!
//! Deliberately not here: what a command means, who may be a voter and when, how frames travel and who may send one, batching
//! (openraft 0.9 synchronises the disk once for each entry, whatever is waiting: whoever proposes puts many into a command).
//! No type of openraft is in this interface.
//!
//! A leader sends entries while its own disk still writes them (`store/log.rs`).
//!
//! **Invariants**: what [`Raft::propose`] has answered is on the disks of a majority and on this node's, and every machine of
//! the group is given the same commands in the same order. A proposal that was refused has changed nothing; what is not known
//! is said to be unknown. Nodes of different groups do not hear each other. A voter that has lost its log is no voter until its
//! group has removed it and made it a learner again.
//!
//! Why openraft 0.9.25: its followers hold a lease for their leader and grant no vote while they hear one, which keeps a voter
//! that comes and goes from unseating it. It has no poll before an election and no leader that gives up without its majority;
//! the module `elector` adds both. A test lets a link come and go each second for a minute and counts the terms.

mod applier;
#[cfg(test)]
mod conformance;
mod elector;
mod error;
mod frame;
mod links;
mod machine;
mod network;
mod node;
mod options;
mod raft;
mod serve;
mod status;
mod store;
mod transfer;
mod transport;
mod types;

pub use error::{ChangeError, FoundError, OpenError, ProposeError, ReadError, TransferError};
pub use machine::Machine;
pub use options::Options;
pub use raft::{Former, Raft};
pub use status::{Peer, Role, Status};
pub use transport::{Transport, Unreachable};
