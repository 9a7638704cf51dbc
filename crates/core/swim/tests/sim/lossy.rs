//! **Invariant**: at 30 % loss the hub calls nobody dead who is not, however many suspicions there are; nor a node whose datagrams
//! are all dropped, while its session stands.

use acp_core_swim::Verdict;

use crate::{
    network::Network,
    seeds::seeds,
    world::{SECOND_US, World, uid},
};

fn live(seed: u64, sends_once: bool) -> World {
    let mut world = World::new(seed, 5, lossy());
    world.sends_once = sends_once;
    world.run_for(120 * SECOND_US);
    assert_eq!(world.hub.downs(), 0, "seed {seed}: {:?}", world.hub.said);
    world
}

fn lossy() -> Network {
    Network { loss_percent: 30, ..Network::default() }
}

#[test]
fn copies_keep_rings_from_error() {
    let (mut once, mut copied) = (0, 0);
    for seed in seeds(12) {
        once += live(seed, true).suspicions.len();
        let mut world = live(seed, false);
        copied += world.suspicions.len();
        assert!(world.false_downs.is_empty(), "seed {seed}: {:?}", world.false_downs);
        assert!(world.run_until(10 * SECOND_US, World::is_whole).is_some(), "seed {seed}: lost each other for good");
    }
    eprintln!("30 % loss: {once} suspicions with one copy, {copied} as asked for");
    assert!(copied * 4 < once, "{once} suspicions with one copy, {copied} as asked for");
}

#[test]
fn a_ring_that_errs_is_not_believed() {
    for seed in seeds(6) {
        let mut world = World::new(seed, 5, Network { loss_percent: 10, ..Network::default() });
        world.run_for(10 * SECOND_US);
        world.network.without_datagrams = Some(1);
        world.run_for(60 * SECOND_US);
        assert!(!world.false_downs.is_empty() && world.hub.asked > 0, "seed {seed}: nothing was there to be believed");
        assert_eq!(world.hub.downs(), 0, "seed {seed}: {:?}", world.hub.said);
        assert!(world.hub.said.iter().any(|(_, node, verdict)| (*node, *verdict) == (uid(1), Verdict::Isolated)));
    }
}
