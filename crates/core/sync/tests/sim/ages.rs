//! **Invariant**: no slot is older than its age says by more than its time on the way, and none is younger; whoever relayed it.

use crate::script::{expect_faults, expect_none};

#[test]
fn ages_do_not_lie() {
    expect_none(|life| life.wrong.get("age"));
    expect_faults(100, "was relayed", |life| life.relayed);
}
