//! **Invariant**: a system's terms only grow, and each belongs to one node.

use std::collections::BTreeMap;

use acp_base::Uid;

use crate::world::{Mistake, World};

#[test]
fn terms_grow_and_belong_to_one_node() {
    for seed in 0..50 {
        let mut newest: BTreeMap<Uid, u64> = BTreeMap::new();
        let mut owners: BTreeMap<(Uid, u64), Uid> = BTreeMap::new();
        let lived = World::new(seed, Mistake::Nothing).live(|world| {
            for (system, fact) in &world.log.facts {
                if newest.insert(*system, fact.term).is_some_and(|before| before > fact.term) {
                    return Err(format!("{system} went back to term {}", fact.term));
                }
                if let Some(holder) = fact.holder
                    && *owners.entry((*system, fact.term)).or_insert(holder) != holder
                {
                    return Err(format!("term {} of {system} went from one node to another", fact.term));
                }
            }
            Ok(())
        });
        assert_eq!(lived, Ok(()), "seed {seed}");
    }
}
