//! **Invariant**: what was deleted, or replaced, does not come back; also for a moment.

use crate::{
    node::Told,
    script::{expect_faults, expect_none},
};

/// Whether a node may be told this number after what it was told before: in one life numbers grow. A life with an old disk is
/// lower than one before it, so between lives the incarnation alone decides.
pub(crate) fn check(before: Option<Told>, incarnation: u64, number: u64) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    if number > before.number || incarnation > before.incarnation {
        return Ok(());
    }
    Err(format!("{number} of incarnation {incarnation} came after {before:?}"))
}

#[test]
fn nothing_deleted_returns() {
    expect_none(|life| life.wrong.get("deleted"));
    expect_faults(500, "was deleted", |life| life.gone);
}
