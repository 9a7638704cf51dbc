//! Sealed datagrams between the nodes of a cluster, over multicast and unicast.
//!
//! A [`Sealer`] seals what this process sends, an [`Opener`] opens what arrives, both with the keys of a [`KeyRing`]; an
//! [`Endpoint`] has the sockets; [`selftest::SelfTest`] finds out which members multicast reaches. The layout, what is
//! refused and why, and every bound are in `docs/datagrams.md`.
//!
//! Deliberately not here: what datagrams carry beyond their [`Channel`], how keys reach the nodes, who the members are.
//!
//! **Invariants**: nothing leaves but sealed datagrams that no two of which share key and counter; nothing is handed on that was not
//! sealed with a valid key of this cluster, or twice; whatever else arrives is dropped, counted by reason, and costs no
//! memory.
//!
//! Driven by a service that owns one of each.

mod batch;
mod group;
mod header;
mod key;
pub mod limits;
mod open;
mod path;
mod refusal;
mod ring;
mod seal;
pub mod selftest;
mod senders;
mod socket;
mod window;

pub use batch::Batch;
pub use group::group_address;
pub use key::{CryptoError, GroupKey, SECRET_BYTES};
pub use open::{Arrival, Opened, Opener};
pub use path::{Channel, Path};
pub use refusal::Refusal;
pub use ring::{KeyRing, RingError};
pub use seal::{Identity, SealError, Sealer};
pub use socket::{BindError, Endpoint, Loopback, SendError};
