//! **Invariant**: without loss, what a node sends follows from its own changes, whatever the number of nodes.

use acp_core_sync::Config;

use crate::world::World;

/// Bytes that the busiest node sent in a time in which each changed as much, when all have come to know each other.
fn most_sent(nodes: usize) -> u64 {
    let mut world = World::new(5, nodes, Config::default());
    (0..nodes).for_each(|index| (0..5).for_each(|slot| world.publish(index, slot, 100)));
    world.run_for(9_000);
    let before: Vec<u64> = world.nodes.iter().map(|node| node.sent.bytes).collect();
    for _ in 0..12 {
        for index in 0..nodes {
            (0..5).for_each(|slot| world.publish(index, slot, 100));
        }
        world.run_for(500);
    }
    assert_eq!(world.difference(), None);
    world.nodes.iter().zip(before).map(|(node, before)| node.sent.bytes - before).max().unwrap_or_default()
}

#[test]
fn bytes_do_not_grow_with_nodes() {
    let (few, many) = (most_sent(17), most_sent(34));
    // Digests and summaries have jitter; a page of a summary is full from 16 nodes on.
    assert!(many < few + few / 8, "{few} bytes at 17 nodes, {many} at 34");
}
