//! **Invariant**: no slot is older than its age says by more than its time on the way, and none is younger; whoever relayed it.

use std::time::Duration;

use crate::script::{expect_faults, expect_none};

/// Several ways in disorder, one after the other.
const ON_THE_WAY: Duration = Duration::from_millis(500);

pub(crate) fn check(real: Duration, age: Duration) -> Result<(), String> {
    if age > real + Duration::from_millis(1) || age + ON_THE_WAY < real {
        return Err(format!("{age:?} is told of what is {real:?} old"));
    }
    Ok(())
}

#[test]
fn ages_do_not_lie() {
    expect_none(|life| life.wrong.get("age"));
    expect_faults(100, "was relayed", |life| life.relayed);
}
