//! Whole nodes on one machine: started in a network namespace and cgroups of their own, asked, and taken down without a
//! trace. `cargo xtask up` uses it for the node of the quick start, tests and benches for theirs.
//!
//! Deliberately not here: any knowledge of what a node does inside. A node is a guard process, a directory, a namespace and
//! a set of cgroups; everything else goes through `acpctl` and the sockets, as it does for an operator.
//!
//! **Invariant**: whatever a node consists of is found by its id (eight hexadecimal digits of its directory), so that it
//! can be taken down also when nobody remembers how it was started.

pub mod audit;
pub mod cgroup;
pub mod cpio;
mod devices;
pub mod guard;
pub mod http;
pub mod layout;
pub mod ledger;
pub mod leftovers;
pub mod load;
pub mod machine;
pub mod namespace;
pub mod node;
pub mod objects;
pub mod power_loss;
pub mod process;
pub mod record;
pub mod schemathesis;
pub mod subject;
pub mod terminal;
pub mod varlink;
mod view;

pub use acp_dev_wait::wait_for;
pub use layout::Layout;
pub use node::Node;
