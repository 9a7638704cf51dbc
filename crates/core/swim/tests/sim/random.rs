//! Numbers from a seed.

/// `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }
}

/// The seeds of a case: so many, times what `ACP_SIM_SEEDS` says.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is for whoever starts it to say")]
pub(crate) fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let times = std::env::var("ACP_SIM_SEEDS").map_or(1, |text| text.parse().expect("a number of times"));
    1..=count * times
}
