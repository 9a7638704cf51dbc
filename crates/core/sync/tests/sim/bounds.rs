//! **Invariant**: no node holds more than its bounds, sends a longer datagram than fits, or is kept busy by what it cannot hold;
//! and when there is room again, it is filled.

use acp_core_sync::{Budget, Config, limits::MTU_BYTES};

use crate::{network::Loss, script::lives, world::World};

const TIGHT: Config = Config {
    meta: Budget { bytes_per_second: 1 << 20, burst_bytes: 64 << 10 },
    stats: Budget { bytes_per_second: 20_000, burst_bytes: 4_000 },
    own_slots_max: 300,
    own_bytes_max: 100_000,
    origins_max: 4,
    slots_max: 500,
    bytes_max: 60_000,
};

fn check(world: &World) {
    for (index, node) in world.nodes.iter().enumerate() {
        let Some(sync) = &node.sync else { continue };
        let (slots, bytes) = sync.used();
        let origins = sync.origins(node.clock(world.now_us)).count();
        assert!(slots <= TIGHT.slots_max && bytes <= TIGHT.bytes_max, "node {index}: {slots} slots, {bytes} bytes");
        assert!(origins <= TIGHT.origins_max, "node {index}: {origins} origins");
        let own: usize = sync.origins(node.clock(world.now_us)).map(|state| state.bytes).sum();
        assert_eq!(own, bytes, "the sum of its parts");
    }
}

#[test]
fn bounds_hold_and_room_is_used_again() {
    let mut world = World::new(1, 4, TIGHT);
    world.network.loss = Loss::Percent(5);
    for slot in 0..200 {
        for index in 0..4 {
            world.publish(index, slot, 100);
        }
        world.run_for(7);
        check(&world);
    }
    world.network.loss = Loss::None;
    world.run_for(10_000);
    check(&world);
    assert!(world.difference().is_some(), "600 slots do not fit into 500");
    let before: u64 = world.nodes.iter().map(|node| node.sent.datagrams).sum();
    world.run_for(60_000);
    let after: u64 = world.nodes.iter().map(|node| node.sent.datagrams).sum();
    assert!(after - before < 4 * 60 * 8, "{} datagrams for what nobody can hold", after - before);
    for slot in 60..200 {
        (0..4).for_each(|index| world.withdraw(index, slot));
    }
    world.run_for(250_000);
    check(&world);
    assert_eq!(world.difference(), None);
}

#[test]
fn more_origins_than_fit_are_refused_and_counted() {
    let mut world = World::new(2, 7, TIGHT);
    (0..7).for_each(|index| world.publish(index, 1, 20));
    world.run_for(5_000);
    check(&world);
    assert!(world.nodes.iter().all(|node| node.sync.as_ref().is_some_and(|sync| sync.counters().no_room > 0)));
}

#[test]
fn no_datagram_is_longer_than_fits() {
    let longest = lives().iter().map(|life| life.longest).max().unwrap_or_default();
    assert!((MTU_BYTES - 100..=MTU_BYTES).contains(&longest), "{longest}");
}

#[test]
fn a_flood_delays_its_own_lane_alone() {
    let mut world = World::new(3, 3, TIGHT);
    world.run_for(3_000);
    // Slots that are multiples of 6 are measurements by the hypervisor; 1 is state by the network.
    for round in 0..40 {
        (0..40).for_each(|slot| world.publish(0, 6 * slot, 200));
        world.publish(0, 1, 20 + round);
        let own = world.own(0)[&crate::world::key(1)];
        world.run_for(25);
        let held = world.held(1, world.nodes[0].uid);
        assert_eq!(held.get(&crate::world::key(1)), Some(&own), "state came late in round {round}");
    }
    let sent = world.nodes[0].sent.bytes;
    assert!(sent < 4_000 + 20_000 + 30_000, "{sent} bytes in a second of 20,000 for what floods");
    world.run_for(5_000);
    assert_eq!(world.difference(), None, "the newest of it comes in the end");
}
