//! Whoever has applied an index has the same hash there, whether by entries or from an image, and no replica stalls.

use std::collections::BTreeMap;

use acp_core_cdb::Hash;

use crate::world::World;

/// The hash at every index, and up to where each node was looked at.
#[derive(Debug, Default)]
pub(super) struct Chain {
    known: BTreeMap<u64, Hash>,
    seen: BTreeMap<usize, u64>,
}

impl Chain {
    pub(super) fn look(&mut self, world: &World) -> Result<(), String> {
        for node in &world.nodes {
            if let Some(stall) = node.state.stalled() {
                return Err(format!("{} has stalled: {stall}", node.number));
            }
            // A node that has started again begins before where it was.
            let index = node.state.index();
            let from = self.seen.insert(node.number, index).unwrap_or_default().min(index);
            for (index, hash) in node.chain.range(from..) {
                let known = *self.known.entry(*index).or_insert(*hash);
                if known != *hash {
                    return Err(format!("{} has another entry {index} than others", node.number));
                }
            }
        }
        Ok(())
    }
}
