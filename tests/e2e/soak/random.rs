//! The one source of decisions: SplitMix64, which is the same on every machine and in every build.
//!
//! Every client and the conductor have a stream of their own, drawn from the seed, so that the speed of one does not change
//! what another decides. When things happen is up to the machine; what is tried in which order is up to the seed.

/// A stream of decisions.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of this number of a seed.
    pub(crate) fn stream(seed: u64, number: u64) -> Self {
        let mut first = Self(seed);
        first.0 ^= first.next().wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        first
    }

    /// The next 64 bits.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of them; nothing if there are none.
    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(among.len()).ok().filter(|count| *count > 0)?;
        among.get(usize::try_from(self.below(count)).ok()?)
    }

    /// One of them, each as likely as its weight says; nothing if no weight is above 0.
    pub(crate) fn weighed<T: Clone>(&mut self, among: &[(u64, T)]) -> Option<T> {
        let total: u64 = among.iter().map(|(weight, _)| weight).sum();
        let mut at = if total == 0 { return None } else { self.below(total) };
        for (weight, one) in among {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return Some(one.clone()),
            }
        }
        None
    }
}
