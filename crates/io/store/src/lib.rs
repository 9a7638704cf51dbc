//! The log and its newest snapshot on disk: SQLite in WAL mode, every append synchronised before it returns.
//!
//! Deliberately not here: what an entry means, who orders it, how a hash is made (the chain's function is passed in). Bytes
//! go in, the same bytes come out, or an error that says which entry cannot be trusted.
//!
//! **Invariants**: [`Store::append`] returns only after the batch is on stable storage (`synchronous=FULL`, one transaction
//! and one synchronisation of the write-ahead log a batch), all of it or nothing. Indices have no gaps. What
//! [`Store::open`] hands out is on stable storage and has been verified: every entry since the newest snapshot chains to it,
//! and nothing that was synchronised is missing at its end. A failed write ends nothing: the store goes on as if it had not
//! been tried, and takes the next one as soon as the disk does.
//!
//! One thread writes and one reads, each with its own connection, so that neither a slow disk nor a long read stops a
//! caller's runtime; a third writes the witness. The service `cluster` drives it.

mod compact;
mod error;
mod reader;
mod recover;
mod room;
mod rows;
mod schema;
mod store;
mod wal;
mod witness;
mod writer;

pub use error::StoreError;
pub use room::has_room;
pub use rows::{Anchor, Chain, Page, Recovered, Retention, Row, Snapshot, Verified};
pub use store::Store;
pub use wal::inspect as inspect_write_ahead_log;
