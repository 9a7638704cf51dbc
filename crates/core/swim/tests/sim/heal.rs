//! **Invariant**: two halves that lost each other find each other within 5 s after they can.

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, Us, World},
};

fn heal(seed: u64, count: usize, loss_percent: u64, apart_s: u64) -> Us {
    let mut world = World::new(seed, count, Network { loss_percent, ..Network::default() });
    assert!(world.run_until(5 * SECOND_US, World::is_whole).is_some(), "seed {seed}: they never met");
    world.network.cut_at = Some(count / 2);
    world.run_for(apart_s * SECOND_US + seed * 137_911 % SECOND_US);
    assert!(!world.is_whole(), "seed {seed}: nobody was lost");
    world.network.cut_at = None;
    world.run_until(5 * SECOND_US, World::is_whole).unwrap_or_else(|| panic!("seed {seed}: still apart after 5 s"))
}

fn worst_of(count: usize, loss_percent: u64, runs: u64) {
    let worst = seeds(runs).map(|seed| heal(seed, count, loss_percent, 20)).max();
    eprintln!("{count} nodes, {loss_percent} % loss: whole again after at most {} ms", worst.unwrap_or(0) / 1_000);
}

#[test]
fn few_nodes() {
    for count in [2, 3, 5] {
        worst_of(count, 0, 10);
        worst_of(count, 10, 10);
    }
}

#[test]
fn a_full_ring() {
    worst_of(64, 0, 2);
}
