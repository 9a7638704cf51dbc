//! A term has one leader at most.

use std::collections::BTreeMap;

use crate::world::World;

/// Who led which term.
#[derive(Debug, Default)]
pub(super) struct Leaders(BTreeMap<u64, usize>);

impl Leaders {
    pub(super) fn look(&mut self, world: &World) -> Result<(), String> {
        for (node, voter) in world.voters.iter().enumerate().filter(|(_, voter)| voter.leads) {
            let known = *self.0.entry(voter.term).or_insert(node);
            if known != node {
                return Err(format!("term {} is led by {known} and {node}", voter.term));
            }
        }
        Ok(())
    }
}
