//! Which packets arrive, and when.

use crate::world::{SECOND_US, Us};
use acp_dev_dice::Random;

/// A node that is cut off now and then: for how long, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    pub(crate) node: usize,
    pub(crate) length_us: Us,
    pub(crate) period_us: Us,
}

/// The network between the nodes and to the hub.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) loss_percent: u64,
    pub(crate) bursts: Option<Bursts>,
    /// A node whose datagrams are all dropped, while its connection to the hub stands.
    pub(crate) without_datagrams: Option<usize>,
    /// Nodes below this number do not reach the others.
    pub(crate) cut_at: Option<usize>,
}

impl Network {
    /// How long a datagram takes, if it arrives.
    pub(crate) fn carry_datagram(&self, now: Us, from: usize, to: usize, random: &mut Random) -> Option<Us> {
        let dropped = [from, to].map(Some).contains(&self.without_datagrams);
        self.carry(now, from, to, random).filter(|_| !dropped)
    }

    /// How long a packet takes, if it arrives.
    fn carry(&self, now: Us, from: usize, to: usize, random: &mut Random) -> Option<Us> {
        let lost = random.below(100) < self.loss_percent;
        let cut = self.cut_at.is_some_and(|cut| (from < cut) != (to < cut));
        let silent = self.is_silent(now, from) || self.is_silent(now, to);
        (!lost && !cut && !silent).then(|| 200 + random.below(600))
    }

    /// The same between a node and the hub, which stands beside the nodes above the cut.
    pub(crate) fn carry_hub(&self, now: Us, node: usize, random: &mut Random) -> Option<Us> {
        self.carry(now, node, usize::MAX, random)
    }

    fn is_silent(&self, now: Us, node: usize) -> bool {
        self.bursts.is_some_and(|bursts| {
            bursts.node == node && now > 10 * SECOND_US && now % bursts.period_us < bursts.length_us
        })
    }
}
