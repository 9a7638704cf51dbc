//! Failure detection: who of a domain's nodes is alive, dead, or out of somebody's reach; without I/O.
//!
//! [`rings`] puts the nodes of a domain into closed groups, a [`Ring`] is one node's part in such a group (SWIM by foca), and
//! [`Verdicts`] is the hub's conclusion from what rings say, from its sessions, and from a confirmation of its own. Not here:
//! sockets and sealing (`io/datagram`), leases, and what follows from a death.
//!
//! ```text
//!  Ring on each node ── Suspected, Up, Down ──▶ Verdicts at the hub's leader ──▶ Online, Isolated, Unmanaged, Down
//!       ▲ datagrams, sealed, one to three copies      ▲ sessions    ▲ confirmation over the agent link
//! ```
//!
//! **Invariants**: a ring holds the members that it was given and no other; nobody is declared dead on the word of rings alone;
//! a verdict of a hub without a quorum says how old it is. `docs/failure-detection.md` has the tables.

mod codec;
mod health;
mod identity;
mod loss;
pub mod relays;
pub mod ring;
pub mod rings;
pub mod timing;
pub mod verdict;
mod verdicts;

pub use foca::State;
pub use health::{Health, SCORE_MAX};
pub use identity::Identity;
pub use loss::{COPIES_MAX, Loss};
pub use ring::{Evidence, Output, Ring};
pub use verdict::{Facts, Verdict, judge};
pub use verdicts::{Effect, Verdicts};
