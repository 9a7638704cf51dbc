//! **Invariant**: when faults have ended, all replicas hold what each node says, and the same of nodes that are down.

use crate::script::{expect_none, lives};

#[test]
fn replicas_converge() {
    expect_none(|life| life.difference.as_ref());
    let faults: u64 = lives().iter().map(|life| life.stale + life.repeats).sum();
    assert!(faults > 1_000, "{faults}: these lives were too easy");
}
