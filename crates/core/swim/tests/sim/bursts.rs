//! **Invariant**: a node that is cut off for 2 s every 10 s is not called dead by the hub, and calls nobody else dead.

use crate::{
    network::{Bursts, Network},
    seeds::seeds,
    world::{SECOND_US, World, uid},
};

fn live(seed: u64, count: usize, loss_percent: u64, seconds: u64) {
    let bursts = Some(Bursts { node: 1, length_us: 2 * SECOND_US, period_us: 10 * SECOND_US });
    let mut world = World::new(seed, count, Network { loss_percent, bursts, ..Network::default() });
    world.run_for(seconds * SECOND_US);
    assert_eq!(world.hub.downs(), 0, "seed {seed}: {:?}", world.hub.said);
    let innocent: Vec<_> = world.false_downs.iter().filter(|(_, _, node)| *node != uid(1)).collect();
    assert!(innocent.is_empty(), "seed {seed}: {innocent:?}");
}

#[test]
fn without_other_loss() {
    seeds(12).for_each(|seed| live(seed, 5, 0, 120));
}

#[test]
fn with_other_loss() {
    seeds(12).for_each(|seed| live(seed, 5, 10, 120));
}

#[test]
fn among_many() {
    seeds(4).for_each(|seed| live(seed, 30, 0, 60));
}
