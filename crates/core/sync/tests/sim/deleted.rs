//! **Invariant**: what was deleted, or replaced, does not come back; also for a moment.

use crate::script::{expect_faults, expect_none};

#[test]
fn nothing_deleted_returns() {
    expect_none(|life| life.wrong.get("deleted"));
    expect_faults(500, "was deleted", |life| life.gone);
}
