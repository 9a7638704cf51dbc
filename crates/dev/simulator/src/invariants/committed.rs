//! What was committed anywhere stays where it is, for ever.

use std::sync::Arc;

use crate::{raft::Item, world::World};

/// The longest log that anybody knew to be committed.
#[derive(Debug, Default)]
pub(super) struct Committed(Vec<Arc<Item>>);

impl Committed {
    pub(super) fn look(&mut self, world: &World) -> Result<(), String> {
        for (node, voter) in world.voters.iter().enumerate() {
            let own = voter.log.get(..voter.committed).ok_or_else(|| format!("{node} has lost what was committed"))?;
            let both = own.len().min(self.0.len());
            // Backwards until both are the same in memory: what lies before was compared when it came.
            let newer = own[..both].iter().zip(&self.0).rev().take_while(|(one, other)| !Arc::ptr_eq(one, other));
            if let Some((one, other)) = newer.into_iter().find(|(one, other)| one != other) {
                return Err(format!("{node} has {one:?} where {other:?} was committed"));
            }
            if own.len() > both {
                self.0 = own.to_vec();
            }
        }
        Ok(())
    }
}
