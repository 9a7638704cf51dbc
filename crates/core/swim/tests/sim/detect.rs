//! **Invariant**: a crashed node is down in the hub's eyes within 3 s, as the median.

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, Us, World, uid},
};

/// From crash to verdict.
fn detect(seed: u64, count: usize, loss_percent: u64) -> Us {
    let mut world = World::new(seed, count, Network { loss_percent, ..Network::default() });
    world.run_for(10 * SECOND_US + seed * 137_911 % SECOND_US);
    world.crash(0);
    let crashed = world.now;
    world.run_until(15 * SECOND_US, |world| world.hub.called_down(uid(0), crashed).is_some());
    world.hub.called_down(uid(0), crashed).unwrap_or_else(|| panic!("seed {seed}: never down: {:?}", world.hub.said))
}

fn median_of(count: usize, loss_percent: u64, runs: u64) {
    let mut times: Vec<Us> = seeds(runs).map(|seed| detect(seed, count, loss_percent)).collect();
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2] / 1_000, times[times.len() - 1] / 1_000);
    eprintln!("{count} nodes, {loss_percent} % loss, {} runs: median {median} ms, worst {worst} ms", times.len());
    assert!(median <= 3_000, "median {median} ms");
    assert!(worst <= 6_000, "worst {worst} ms");
}

#[test]
fn five_nodes_without_loss() {
    median_of(5, 0, 21);
}

#[test]
fn five_nodes_with_loss() {
    median_of(5, 10, 21);
}

#[test]
fn a_full_ring_without_loss() {
    median_of(64, 0, 3);
}

#[test]
fn a_full_ring_with_loss() {
    median_of(64, 10, 3);
}
