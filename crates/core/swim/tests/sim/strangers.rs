//! **Invariant**: who is not in the set of members is never one, whoever sends and whoever speaks of it.

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, World, uid},
};

/// Nobody of the first so many knows the stranger.
fn is_unknown(world: &World, members: usize, stranger: usize) -> bool {
    world.nodes[..members].iter().all(|node| node.ring.state(uid(stranger)).is_none())
}

#[test]
fn a_node_that_calls_everybody_stays_outside() {
    for seed in seeds(4) {
        let mut world = World::with_strangers(seed, 5, 1, Network::default());
        world.run_for(30 * SECOND_US);
        assert!(is_unknown(&world, 5, 5), "seed {seed}");
        assert_eq!(world.hub.downs(), 0, "seed {seed}");
    }
}

#[test]
fn a_node_that_one_member_knows_stays_outside_for_the_others() {
    for seed in seeds(4) {
        let mut world = World::with_strangers(seed, 5, 1, Network::default());
        world.nodes[0].members.insert(uid(5));
        world.reset_members(0);
        world.run_for(30 * SECOND_US);
        assert!(world.nodes[0].ring.state(uid(5)).is_some(), "seed {seed}: the one who knows it has met it");
        assert!(is_unknown_to_others(&world), "seed {seed}");
        let cut: u64 = world.nodes[1..5].iter().map(|node| node.ring.strangers()).sum();
        assert!(cut > 0, "seed {seed}: nobody was told of it");
    }
}

fn is_unknown_to_others(world: &World) -> bool {
    world.nodes[1..5].iter().all(|node| node.ring.state(uid(5)).is_none())
}

#[test]
fn who_is_taken_off_the_set_is_forgotten_and_can_come_back() {
    for seed in seeds(4) {
        let mut world = World::new(seed, 5, Network::default());
        world.run_for(5 * SECOND_US);
        for index in 0..4 {
            world.nodes[index].members.remove(&uid(4));
            world.reset_members(index);
        }
        world.run_for(10 * SECOND_US);
        assert!(is_unknown(&world, 4, 4), "seed {seed}");
        for index in 0..4 {
            world.nodes[index].members.insert(uid(4));
            world.reset_members(index);
        }
        assert!(world.run_until(5 * SECOND_US, World::is_whole).is_some(), "seed {seed}: it cannot come back");
    }
}
