//! Jitter from a seed: the same seed gives the same run.

use std::time::Duration;

use crate::limits::SPREAD_PERCENT;

/// SplitMix64 (Steele, Lea, Flood 2014): enough to keep nodes out of step, and nothing secret rests on it.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `limit`, which is not 0.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// A duration below `limit`, to the microsecond.
    pub(crate) fn up_to(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.below(micros))
    }

    /// The period, somewhat shorter or longer.
    pub(crate) fn about(&mut self, period: Duration) -> Duration {
        let percent = 100 - SPREAD_PERCENT + self.below(2 * SPREAD_PERCENT + 1);
        period.mul_f64(f64::from(u32::try_from(percent).unwrap_or(100)) / 100.0)
    }
}

/// The finishing step of SplitMix64: every bit of the result depends on every bit of the number.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
