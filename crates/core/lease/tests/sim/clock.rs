//! Each host's own CLOCK_BOOTTIME: the same rate, another beginning.

use acp_base::BootInstant;

/// The length of a step of the world in milliseconds: what is due within it happens at its end.
pub(crate) const STEP_MS: u64 = 10;

/// A host's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What it showed when the world began, in milliseconds.
    pub(crate) offset_ms: u64,
}

impl Clock {
    /// What it shows at this time of the world.
    pub(crate) const fn at(self, time_ms: u64) -> BootInstant {
        BootInstant::from_millis(self.offset_ms + time_ms)
    }
}
