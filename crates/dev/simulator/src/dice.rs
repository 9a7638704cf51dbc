//! The one source of decisions: SplitMix64, which is the same on every machine.

/// A stream of decisions.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `bound`, which is not 0.
    pub(crate) fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    /// One of them, if there is one.
    pub(crate) fn pick(&mut self, among: &[usize]) -> Option<usize> {
        let count = u64::try_from(among.len()).ok().filter(|count| *count > 0)?;
        among.get(usize::try_from(self.roll(count)).ok()?).copied()
    }

    /// A node's number.
    pub(crate) fn node(&mut self) -> usize {
        usize::try_from(self.roll(crate::node::NODES as u64)).unwrap_or_default()
    }
}
