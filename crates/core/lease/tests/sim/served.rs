//! **Invariant**: what is asked for is run: a world in which nothing happens proves nothing.

use crate::world::{Mistake, World};

#[test]
fn systems_run_end_and_move() {
    let (mut starts, mut kills, mut moves) = (0, 0, 0);
    for seed in 0..20 {
        let mut world = World::new(seed, Mistake::Nothing);
        world.live(|_world| Ok(())).expect("nothing is looked at");
        let begun: u64 = world.nodes.iter().map(|node| node.starts).sum();
        assert!(begun > 0, "seed {seed}: nothing ran");
        starts += begun;
        kills += world.nodes.iter().map(|node| node.kills).sum::<u64>();
        moves += world.moves;
    }
    assert!(starts > 200 && kills > 50 && moves > 100, "{starts} starts, {kills} kills, {moves} grants anew");
}
