//! What a node may be told, after what it was told before. Each is an invariant; the tests of `core/sync` look whether one broke.

use std::time::Duration;

use crate::node::Told;

/// Several ways in disorder, one after the other.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// No slot is older than its age says by more than its time on the way, and none is younger; whoever relayed it.
pub(crate) fn age(real: Duration, age: Duration) -> Result<(), String> {
    if age > real + Duration::from_millis(1) || age + ON_THE_WAY < real {
        return Err(format!("{age:?} is told of what is {real:?} old"));
    }
    Ok(())
}

/// Whether a node may be told this number after what it was told before: in one life numbers grow. A life with an old disk is
/// lower than one before it, so between lives the incarnation alone decides.
pub(crate) fn not_deleted(before: Option<Told>, incarnation: u64, number: u64) -> Result<(), String> {
    let Some(before) = before else { return Ok(()) };
    if number > before.number || incarnation > before.incarnation {
        return Ok(());
    }
    Err(format!("{number} of incarnation {incarnation} came after {before:?}"))
}

/// Whether a node may be told of this incarnation.
pub(crate) fn incarnation(newest: u64, incarnation: u64) -> Result<(), String> {
    if incarnation < newest { Err(format!("incarnation {incarnation} after {newest}")) } else { Ok(()) }
}
