//! **Invariant**: a node that starts again is back in its ring within 5 s, whether its death was noticed or not, and also with a
//! clock that went back.

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, World},
};

fn restart(seed: u64, away_ms: u64, incarnations: (u64, u64)) {
    let mut world = World::new(seed, 5, Network::default());
    world.restart(2, incarnations.0);
    world.run_for(5 * SECOND_US);
    assert!(world.is_whole(), "seed {seed}: they never met");
    world.crash(2);
    world.run_for(away_ms * 1_000 + seed * 13_799 % SECOND_US);
    world.restart(2, incarnations.1);
    let back = world.run_until(5 * SECOND_US, |world| {
        world.is_whole()
            && world.nodes.iter().all(|node| node.ring.identity().incarnation <= incarnations.0.max(incarnations.1))
    });
    assert!(back.is_some(), "seed {seed}: {away_ms} ms, {incarnations:?}");
    assert!(world.nodes[2].ring.identity().incarnation >= incarnations.1);
}

#[test]
fn before_its_death_is_noticed() {
    seeds(10).for_each(|seed| restart(seed, 200, (10, 11)));
}

#[test]
fn after_its_death_was_noticed() {
    seeds(10).for_each(|seed| restart(seed, 10_000, (10, 11)));
}

#[test]
fn with_a_clock_that_went_back() {
    seeds(10).for_each(|seed| restart(seed, 200, (10, 5)));
    seeds(10).for_each(|seed| restart(seed, 10_000, (10, 5)));
}
