//! ACP for programs: systems, jobs, objects, events, nodes and the quorum of a cluster, as typed calls.
//!
//! A program runs on a node and reaches that node's daemons at their sockets, and those of every other node through the
//! agent. [`Connection`] is where it begins:
//!
//! ```no_run
//! # async fn run() -> Result<(), acp_client::Failure> {
//! let acp = acp_client::Connection::new(acp_client::Options::default())?;
//! let web = "web".parse().expect("a name");
//! let acp = acp.at_system(&web).await?;
//! if let Some(id) = acp.systems().start(&web).await?.job {
//!     acp.jobs("hypervisor").follow(id, acp_client::JOB_LIMIT, |_news| {}).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What has no operation of its own is called by its method's type, [`Connection::call`]; the types are in [`api`] and
//! [`model`]. Deliberately not here: anything that is printed or asked of people, which is `acpctl`.
//!
//! **Invariant**: every error is a [`Failure`] that says who has to act, whether something was changed and whether trying
//! again can help; nothing is sent twice that could be done twice.

mod connection;
mod diff;
mod events;
pub mod home;
mod jobs;
mod nodes;
mod objects;
mod options;
mod quorum;
mod systems;
mod teller;

pub use acp_base::{Blame, ByteSize, Change, Code, Failure, Name, Retry, Uid};
pub use acp_io_client::{CallTrace, Replies, ServiceClient, Trace, Upgraded, key_file};
pub use acp_wire_api as api;
pub use acp_wire_model as model;
pub use connection::Connection;
pub use diff::{FieldChange, diff};
pub use events::{Event, EventStart, Events, EventsWatch};
pub use jobs::{JOB_LIMIT, JobNews, Jobs};
pub use nodes::{Nodes, NodesNews, NodesWatch};
pub use objects::{ObjectNews, Objects, ObjectsWatch};
pub use options::{Options, RUN_DIR};
pub use quorum::Quorum;
pub use systems::Systems;
pub use teller::{EventTeller, membership_in_words};
