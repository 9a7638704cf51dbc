//! What goes in and comes out.

use std::time::Duration;

/// The function that makes the chain: the previous hash and an entry's bytes give the next hash.
pub type Chain = fn(&[u8; 32], &[u8]) -> [u8; 32];

/// A stored entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Position in the log, from 1.
    pub index: u64,
    /// The chain's hash after it.
    pub hash: [u8; 32],
    /// When it was ordered, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The entry.
    pub bytes: Vec<u8>,
    /// Why apply refused it, as far as it was said.
    pub refused: Option<String>,
}

/// A position in the log with the chain's hash there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// The index; 0 is before the first entry.
    pub index: u64,
    /// The hash after that entry.
    pub hash: [u8; 32],
    /// When that entry was ordered, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// A state at one index, from which the log's rest goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where it stands.
    pub at: Anchor,
    /// The state.
    pub bytes: Vec<u8>,
}

/// What a store holds when it is opened, verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The last entry; index 0 in an empty store.
    pub last: Anchor,
}

/// Some entries in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order; empty past the end.
    pub rows: Vec<Row>,
    /// What the first entry kept chains to.
    pub base: Anchor,
}

/// How long entries are kept that the snapshot already covers: until either bound is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age.
    pub age: Duration,
    /// Bytes of entries.
    pub bytes: u64,
}

/// What a verification of the whole log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// First entry kept; one above `last` if none is.
    pub first: u64,
    /// The last entry.
    pub last: Anchor,
    /// The first entry that does not chain to the one before it.
    pub broken_at: Option<u64>,
}

/// An index as SQLite stores it. Indices beyond 2^63 do not occur: at a million entries a second that is 292,000 years.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A stored number; negative ones do not occur.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
