//! The clocks and the source of ids, for drivers of cores that take both as values.

use std::time::{SystemTime, UNIX_EPOCH};

use acp_base::{BootInstant, Uid, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Now, by `CLOCK_BOOTTIME`.
pub fn boot_now() -> BootInstant {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    BootInstant::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Now, by the wall clock.
pub fn wall_now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// A new identity.
pub fn new_uid() -> Uid {
    Uid::from(uuid::Uuid::now_v7())
}
