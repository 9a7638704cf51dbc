//! No two nodes run a system at any instant.

use std::collections::BTreeMap;

use acp_base::Uid;

use crate::world::World;

/// How much was seen to run.
#[derive(Debug, Default)]
pub(super) struct Exclusive {
    running: u64,
}

impl Exclusive {
    pub(super) fn look(&mut self, world: &World, now: u64) -> Result<(), String> {
        let mut runs = BTreeMap::<Uid, usize>::new();
        for node in &world.nodes {
            for system in node.running(now) {
                self.running += 1;
                if let Some(other) = runs.insert(system, node.number) {
                    return Err(format!("{system} runs on {other} and {}", node.number));
                }
            }
        }
        Ok(())
    }

    pub(super) const fn running(&self) -> u64 {
        self.running
    }
}
