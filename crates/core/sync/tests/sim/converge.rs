//! **Invariant**: when faults have ended, all replicas hold what each node says, and the same of nodes that are down.

use crate::script::{expect_faults, expect_none};

#[test]
fn replicas_converge() {
    expect_none(|life| life.difference.as_ref());
    expect_faults(1_000, "was lost or late", |life| life.stale + life.repeats);
}
