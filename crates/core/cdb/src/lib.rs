//! The cluster database as a machine without I/O: the log's entries go in, objects, allocations and refusals come out.
//!
//! Three parts with one invariant each, composed by [`Database`]:
//!
//! - [`State`] holds what the log says: declared objects, members, leases, the epoch and the feature level. **Invariant**: it is
//!   a function of the log alone. Whoever applies the same entries holds the same state and the same hash; every name, MAC,
//!   address and volume has at most one holder, and so has the right to run a floating system.
//! - [`Slots`] holds what reporters say. **Invariant**: a slot has one writer, its reporter, and only a newer publication
//!   replaces it; a reported object exists exactly while it has slots.
//! - [`Journal`] remembers what changed. **Invariant**: the state at a position plus the changes after it is the state now,
//!   or the journal says that it no longer reaches back that far.
//!
//! Deliberately not here: ordering and durability (the sequencer and the store), clocks, ids, sockets. Time comes in as a
//! value. The service `cluster` drives it from the one task that owns it.

mod admit;
mod checkpoint;
mod claims;
mod codec;
mod cursor;
mod database;
mod hash;
mod journal;
mod json;
mod lenient;
pub mod limits;
mod mac;
mod patch;
mod refusal;
mod selector;
mod slots;
mod snapshot;
mod spec;
mod state;
mod subnet;
mod view;

pub use checkpoint::checkpoint_message;
pub use codec::{Stall, decode, encode};
pub use cursor::{Cursor, CursorError};
pub use database::{Changes, Database, Event, Key, WatchFilter};
pub use hash::Hash;
pub use journal::Journal;
pub use json::Json;
pub use lenient::{check_patch_keys, check_spec_keys};
pub use mac::{Mac, MacError};
pub use refusal::Refusal;
pub use selector::{Comparison, Selector};
pub use slots::{Heard, HeardValue, Publication, Said, SlotId, SlotReport, Slots};
pub use snapshot::{Image, SnapshotError};
pub use spec::Spec;
pub use state::{Done, Effect, Identity, LeaseRecord, Outcome, Record, State};
pub use subnet::{Subnet, SubnetError};
pub use view::{Rendered, SlotRecord, SlotView, View};
