//! **Invariant**: after a life of a node, nothing of an earlier one is told.

use crate::script::{expect_faults, expect_none};

#[test]
fn no_older_incarnation_wins() {
    expect_none(|life| life.wrong.get("incarnation"));
    expect_faults(0, "came of an earlier life", |life| life.stale);
    expect_faults(0, "was begun again: nobody came back with an old disk", |life| life.begun_again);
}
