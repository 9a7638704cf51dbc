//! **Invariant**: after a life of a node, nothing of an earlier one is told.

use crate::script::{expect_faults, expect_none};

/// Whether a node may be told of this incarnation.
pub(crate) fn check(newest: u64, incarnation: u64) -> Result<(), String> {
    if incarnation < newest { Err(format!("incarnation {incarnation} after {newest}")) } else { Ok(()) }
}

#[test]
fn no_older_incarnation_wins() {
    expect_none(|life| life.wrong.get("incarnation"));
    expect_faults(0, "came of an earlier life", |life| life.stale);
    expect_faults(0, "was begun again: nobody came back with an old disk", |life| life.begun_again);
}
