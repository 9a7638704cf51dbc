//! **Invariants**: domains are in step again within 5 s after a relay, or all relays, died, or a domain was cut off; without faults
//! each change crosses once, and when nobody says anything new nothing circulates.

use std::{collections::BTreeSet, time::Duration};

use acp_core_sync::Config;

use crate::{relays::RELAYS, world::World};

const LIMIT: Duration = Duration::from_secs(5);

/// A world in which all know each other.
fn settled(nodes: usize, domains: usize) -> World {
    let mut world = World::with_domains(3, nodes, domains, Config::default());
    say(&mut world, 0);
    world.run_for(10_000);
    assert_eq!(world.difference(), None);
    world
}

/// Each node says something new.
fn say(world: &mut World, slot: u64) {
    for index in world.up() {
        (slot..slot + 4).for_each(|slot| world.publish(index, slot, 100));
    }
}

#[test]
fn a_change_crosses_at_once() {
    for domains in [2, 3] {
        let mut world = settled(4 * domains, domains);
        say(&mut world, 0);
        let after = world.in_step_after(LIMIT);
        println!("{domains} domains: in step after {after:?}");
        assert!(after <= Duration::from_millis(50), "{after:?}");
    }
}

#[test]
fn the_other_relay_goes_on_at_once() {
    let mut world = settled(8, 2);
    let first = world.candidates(0)[0];
    world.crash(first);
    say(&mut world, 0);
    let after = world.in_step_after(LIMIT);
    println!("one relay lost: in step after {after:?}");
    assert!(after <= Duration::from_millis(500), "{after:?}");
}

#[test]
fn lost_relays_are_replaced() {
    let mut world = settled(8, 2);
    for domain in 0..2 {
        for relay in world.candidates(domain).into_iter().take(RELAYS) {
            world.crash(relay);
        }
    }
    say(&mut world, 0);
    let after = world.in_step_after(LIMIT);
    println!("all relays lost: in step after {after:?}");
}

#[test]
fn a_domain_that_was_cut_off_catches_up() {
    for domains in [2, 3] {
        let mut world = settled(4 * domains, domains);
        let side: BTreeSet<usize> = (0..world.nodes.len()).filter(|index| world.domain(*index) == 1).collect();
        world.network.side = Some(side);
        for round in 0..10 {
            say(&mut world, round % 3);
            world.withdraw(0, 30);
            world.run_for(2_000);
        }
        assert!(world.difference().is_some(), "it was not cut off");
        world.network.side = None;
        let after = world.in_step_after(LIMIT);
        println!("{domains} domains, one cut off for 20 s: in step after {after:?}");
    }
}

#[test]
fn domains_do_not_amplify() {
    let sent = |nodes, domains| {
        let mut world = settled(nodes, domains);
        let (before, links) = (world.nodes.iter().map(|node| node.sent.bytes).sum::<u64>(), world.links.bytes);
        for _ in 0..20 {
            say(&mut world, 0);
            world.run_for(500);
        }
        assert_eq!(world.difference(), None);
        // The last repeats end; from now on nothing is new.
        world.run_for(1_000);
        let deltas = world.deltas;
        world.run_for(10_000);
        assert_eq!(world.deltas, deltas, "something circulates");
        assert_eq!(world.refused, 0, "something went where it does not belong");
        (world.nodes.iter().map(|node| node.sent.bytes).sum::<u64>() - before, world.links.bytes - links)
    };
    let (alone, none) = sent(12, 1);
    let (two, links_of_two) = sent(12, 2);
    let (three, links_of_three) = sent(12, 3);
    println!(
        "bytes of 12 nodes in one domain {alone}; in two {two} and {links_of_two} over links; in three {three} and {links_of_three}"
    );
    assert_eq!(none, 0);
    // Half of what is said is state: each group carries that of the others once, whoever of the relays hands it on.
    assert!(10 * two <= 17 * alone && 10 * three <= 24 * alone, "{alone} {two} {three}");
    // Each of the relays of each domain is told the state of each other one once.
    assert!(10 * links_of_two <= 13 * alone && 10 * links_of_three <= 26 * alone, "{links_of_two} {links_of_three}");
}
