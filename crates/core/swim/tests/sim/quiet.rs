//! **Invariant**: at 10 % loss nobody is called dead who is not, neither by a ring nor by the hub.

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, World},
};

fn lives_quietly(seed: u64, count: usize, seconds: u64) {
    let mut world = World::new(seed, count, Network { loss_percent: 10, ..Network::default() });
    world.run_for(seconds * SECOND_US);
    assert_eq!((&world.false_downs, world.hub.downs()), (&Vec::new(), 0), "seed {seed}");
    let rate = world.datagrams / seconds / count as u64;
    eprintln!("{count} nodes, seed {seed}: {rate} datagrams a node and second");
    assert!(world.run_until(5 * SECOND_US, World::is_whole).is_some(), "seed {seed}");
}

#[test]
fn five_nodes_for_five_minutes() {
    seeds(8).for_each(|seed| lives_quietly(seed, 5, 300));
}

#[test]
fn a_full_ring_for_five_minutes() {
    seeds(1).for_each(|seed| lives_quietly(seed, 64, 300));
}
