//! What holds at every instant.

mod chain;
mod committed;
mod leader;
mod leases;
mod state;

use crate::world::World;

/// Who looks, with what was seen before.
#[derive(Debug, Default)]
pub struct Witness {
    leaders: leader::Leaders,
    committed: committed::Committed,
    chain: chain::Chain,
    leases: leases::Exclusive,
}

impl Witness {
    /// Looks at everything.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn look(&mut self, world: &World, now: u64) -> Result<(), String> {
        self.leaders.look(world)?;
        self.committed.look(world)?;
        self.chain.look(world)?;
        self.leases.look(world, now)
    }

    /// Looks at what is left when the faults are long over.
    ///
    /// # Errors
    /// What has not come.
    pub fn end(&self, world: &World) -> Result<(), String> {
        state::all_are_equal(world)
    }

    /// In how many steps guests ran, each counted.
    pub const fn running(&self) -> u64 {
        self.leases.running()
    }
}
