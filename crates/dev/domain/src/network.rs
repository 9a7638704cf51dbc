//! The network: what becomes of a datagram.

use acp_dev_dice::Random;
use std::collections::BTreeSet;

/// How datagrams are lost, besides partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None is.
    None,
    /// So many percent of all, each for itself.
    Percent(u64),
    /// Each node hears nothing for 2 s out of every 10, at times of its own.
    Bursts,
}

/// The network between nodes, which are numbers here.
#[derive(Debug)]
pub struct Network {
    /// How datagrams are lost.
    pub loss: Loss,
    /// Who is on the other side; none if there are no sides.
    pub side: Option<BTreeSet<usize>>,
    /// The other side hears this one.
    pub one_way: bool,
    /// Pairs, the lower first, between which multicast is dropped.
    pub deaf: BTreeSet<(usize, usize)>,
    /// Datagrams overtake each other, and come twice.
    pub is_unruly: bool,
}

impl Network {
    /// Nothing is lost, late or cut.
    pub const fn calm() -> Self {
        Self { loss: Loss::None, side: None, one_way: false, deaf: BTreeSet::new(), is_unruly: false }
    }

    /// After how many microseconds the copies of a datagram arrive.
    pub(crate) fn pass(&self, random: &mut Random, now_us: u64, from: usize, to: usize, multicast: bool) -> Vec<u64> {
        let is_deaf = multicast && self.deaf.contains(&(from.min(to), from.max(to)));
        if is_deaf || self.is_cut(from, to) || self.is_lost(random, now_us, to) {
            return Vec::new();
        }
        let copies = if self.is_unruly && random.once_in(20) { 2 } else { 1 };
        (0..copies).map(|_| self.delay_us(random)).collect()
    }

    fn delay_us(&self, random: &mut Random) -> u64 {
        let usual = 50 + random.below(400);
        if self.is_unruly && random.once_in(10) { usual + random.below(50_000) } else { usual }
    }

    pub(crate) fn is_cut(&self, from: usize, to: usize) -> bool {
        let Some(side) = &self.side else { return false };
        let crosses = side.contains(&from) != side.contains(&to);
        crosses && !(self.one_way && side.contains(&to))
    }

    fn is_lost(&self, random: &mut Random, now_us: u64, to: usize) -> bool {
        match self.loss {
            Loss::None => false,
            Loss::Percent(percent) => random.below(100) < percent,
            Loss::Bursts => (now_us / 1_000 + 1_370 * to as u64) % 10_000 < 2_000,
        }
    }
}
