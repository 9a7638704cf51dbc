//! The one source of decisions.

use acp_dev_dice::Random;

/// A stream of decisions.
#[derive(Debug)]
pub(crate) struct Dice(Random);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) const fn roll(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// True once in so many times.
    pub(crate) const fn once_in(&mut self, times: u64) -> bool {
        self.0.once_in(times)
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
