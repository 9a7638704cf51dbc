//! What a dead node has left: its survivors got different parts of its last words and come to hold the same.

use acp_base::BootInstant;
use acp_core_sync::{
    Origin, Rolling, Sync,
    limits::TOMBSTONES_HELD_MAX,
    wire::{Body, Delta, Digest, Item},
};

use crate::harness::{HERE, OTHER, THERE, at, carry, delta, gone, held, item, message, sync};

fn give(node: &mut Sync, delta: Delta) {
    let from = if delta.relayed { OTHER } else { delta.origin.node };
    node.receive(at(0), from, &message(Body::Delta(delta))).expect("fine");
}

/// What two nodes got of THERE before it died.
fn survivors(here: Vec<Delta>, other: Vec<Delta>) -> [Sync; 2] {
    let mut nodes = [sync(HERE), sync(OTHER)];
    here.into_iter().for_each(|delta| give(&mut nodes[0], delta));
    other.into_iter().for_each(|delta| give(&mut nodes[1], delta));
    nodes
}

fn expect_equal(nodes: &[Sync; 2], now: BootInstant, expected: &[u64]) {
    for node in nodes {
        let slots: Vec<u64> = held(node, now).into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(slots, expected, "on {}", node.origin());
    }
}

/// Lets them compare; afterwards they hold this and have nothing more to tell each other.
fn expect_settled(mut nodes: [Sync; 2], expected: &[u64]) {
    carry(&mut nodes, 1, 30_000, |_| false);
    expect_equal(&nodes, at(30_000), expected);
    let repeats = |nodes: &[Sync; 2]| nodes.iter().map(|node| node.counters().repeats).sum::<u64>();
    let before = repeats(&nodes);
    assert!(before > 0, "they differed");
    carry(&mut nodes, 30_000, 50_000, |_| false);
    assert_eq!(repeats(&nodes), before);
}

#[test]
fn a_value_whose_successor_reached_nobody_stands() {
    // Sequence 1 was repeated as void, because 3 had taken its place; 3 is lost with its origin.
    let repeated = Delta { newest: 3, ..delta(5, 1, 2, vec![item(2, 2, "b")]) };
    let named = delta(5, 1, 2, vec![item(1, 1, "a"), item(2, 2, "b")]);
    expect_settled(survivors(vec![repeated.clone()], vec![named.clone()]), &[1, 2]);
    expect_settled(survivors(vec![named], vec![repeated]), &[1, 2]);
    // Also where it is all that there is.
    let (none, one) = (Delta { newest: 3, ..delta(5, 1, 1, vec![]) }, delta(5, 1, 1, vec![item(1, 1, "a")]));
    expect_settled(survivors(vec![none], vec![one]), &[1]);
}

#[test]
fn a_later_life_of_which_only_its_beginning_was_heard_ends_the_earlier_one() {
    let said = vec![delta(5, 1, 1, vec![item(1, 1, "a")])];
    let mut nodes = survivors(said.clone(), said);
    let origin = Origin { node: THERE, incarnation: 6 };
    let digest = Digest { origin, newest: 4, horizon: 0, slots: Rolling::default(), reporters: Vec::new(), meta: None };
    nodes[0].receive(at(0), THERE, &message(Body::Digest(digest))).expect("fine");
    assert_eq!(held(&nodes[1], at(0)).len(), 1);
    carry(&mut nodes, 1, 30_000, |_| false);
    expect_equal(&nodes, at(30_000), &[]);
    assert!(nodes.iter().all(|node| node.origins(at(30_000)).any(|state| state.origin == origin)));
}

#[test]
fn as_many_sequences_are_not_the_same_sequences() {
    let single = |sequence: u64, slot| delta(5, sequence, sequence, vec![item(sequence, slot, "v")]);
    let here = vec![single(1, 1), single(3, 3), single(6, 6)];
    let other = vec![single(1, 1), single(4, 4), single(6, 6)];
    expect_settled(survivors(here, other), &[1, 3, 4, 6]);
}

#[test]
fn a_newer_value_whose_datagram_is_lost_on_the_way_comes_with_the_next_comparison() {
    // Here sequence 5 took the place of 1, and 4 is missing: what is relayed as void below it speaks of what lies above.
    let here = vec![delta(5, 1, 3, vec![item(1, 1, "a"), item(2, 2, "b"), item(3, 3, "c")])];
    let mut nodes = survivors([here.clone(), vec![delta(5, 5, 5, vec![item(5, 1, "newest")])]].concat(), Vec::new());
    let is_upper = |body: &Body| matches!(body, Body::Delta(delta) if delta.first == 5);
    let mut lost = 0;
    carry(&mut nodes, 1, 20_000, |body| {
        let loses = is_upper(body) && lost < 2;
        lost += u64::from(loses);
        loses
    });
    assert_eq!(lost, 2);
    expect_equal(&nodes, at(20_000), &[1, 2, 3]);
    // The one who knows of 5 dies as well; a third has what was before.
    let [_, other] = survivors(Vec::new(), vec![Delta { newest: 3, ..delta(5, 1, 3, here[0].items[1..].to_vec()) }]);
    let [here, _] = survivors(here, Vec::new());
    expect_settled([here, other], &[1, 2, 3]);
}

#[test]
fn what_was_deleted_so_long_ago_that_nobody_knows_does_not_come_back() {
    let mut node = sync(HERE);
    give(&mut node, delta(5, 1, 2, vec![item(1, 1, "a"), gone(2, 1)]));
    let ends: Vec<Item> = (0..TOMBSTONES_HELD_MAX as u64).map(|number| gone(3 + number, 3 + number)).collect();
    for item in ends {
        give(&mut node, delta(5, item.sequence, item.sequence, vec![item]));
    }
    let relayed = |newest| Delta { relayed: true, newest, ..delta(5, 1, 1, vec![item(1, 1, "a")]) };
    give(&mut node, relayed(1));
    assert_eq!(held(&node, at(0)), [], "its sender has not heard of its end");
}

#[test]
fn what_is_void_below_the_horizon_ends_and_does_not_return() {
    // Sequence 1 is void because of 6, which reached nobody, or because it was deleted: nobody can tell any more.
    let joined = Delta { newest: 6, horizon: 3, ..delta(5, 1, 5, vec![item(5, 5, "e")]) };
    let was_there = delta(5, 1, 5, vec![item(1, 1, "a"), item(5, 5, "e")]);
    expect_settled(survivors(vec![joined.clone()], vec![was_there.clone()]), &[5]);
    expect_settled(survivors(vec![was_there], vec![joined]), &[5]);
}
