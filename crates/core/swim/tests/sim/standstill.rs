//! **Invariant**: a node that stood still suspects nobody for what it missed, and is not called dead by the hub within 2 s.

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, World, uid},
};

fn live(seed: u64, length_ms: u64) -> World {
    let mut world = World::new(seed, 5, Network::default());
    world.run_for(10 * SECOND_US);
    for _time in 0..8 {
        // Just after a timer: often a probe is on its way, whose answer waits until the node goes on.
        let due = world.nodes[1].ring.next_deadline().expect("there is always a timer").as_nanos() / 1_000;
        world.run_for((due + 100).saturating_sub(world.now));
        world.freeze(1, length_ms * 1_000);
        world.run_for(7 * SECOND_US + seed * 137_911 % SECOND_US);
    }
    let suspected: Vec<_> = world.suspicions.iter().filter(|(_, by, _)| *by == uid(1)).collect();
    assert!(suspected.is_empty(), "seed {seed}: {suspected:?}");
    let innocent: Vec<_> = world.false_downs.iter().filter(|(_, _, node)| *node != uid(1)).collect();
    assert!(innocent.is_empty(), "seed {seed}: {innocent:?}");
    world
}

#[test]
fn short_ones_pass() {
    for seed in seeds(12) {
        let world = live(seed, 1_900);
        assert_eq!(world.hub.downs(), 0, "seed {seed}: {:?}", world.hub.said);
    }
}

#[test]
fn long_ones_accuse_nobody() {
    for seed in seeds(12) {
        let mut world = live(seed, 5_000);
        assert!(world.run_until(5 * SECOND_US, World::is_whole).is_some(), "seed {seed}");
    }
}
