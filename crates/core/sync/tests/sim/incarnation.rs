//! **Invariant**: after a life of a node, nothing of an earlier one is told.

use crate::script::{expect_none, lives};

/// Whether a node may be told of this incarnation.
pub(crate) fn check(newest: u64, incarnation: u64) -> Result<(), String> {
    if incarnation < newest { Err(format!("incarnation {incarnation} after {newest}")) } else { Ok(()) }
}

#[test]
fn no_older_incarnation_wins() {
    expect_none(|life| life.wrong.get("incarnation"));
    let (stale, begun): (u64, u64) =
        lives().iter().fold((0, 0), |(stale, begun), life| (stale + life.stale, begun + life.begun_again));
    assert!(stale > 0 && begun > 0, "{stale} stale messages, {begun} begun again: nobody came back with an old disk");
}
