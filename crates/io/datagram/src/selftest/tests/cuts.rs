//! Multicast is cut between some, one way or both, for a while or now and then.

use super::{
    super::{
        Input, Mode, Why,
        limits::{HOLD_MAX, HOLD_MIN},
    },
    world::{Change, Millis, World, uid},
};
use crate::path::Path::{self, Multicast, Unicast};

/// The promise: by then, whoever is not reached by multicast is sent to by unicast.
const FALL_BACK_MILLIS: Millis = 5_000;

/// A world in which everybody has settled.
fn settled(count: usize, seed: u64) -> World {
    let mut world = World::new(count, seed);
    world.run(6_000);
    assert_eq!(world.ways(Mode::Unicast), [], "multicast works everywhere");
    world.changes.clear();
    world
}

#[test]
fn where_all_works_all_is_multicast_within_seconds_and_stays() {
    let mut world = settled(5, 1);
    world.run(120_000);
    assert_eq!(world.changes, []);
}

/// What is cut between nodes 0 and 1, and whose sending has to fall back for it.
type Cut = (&'static [(Path, usize, usize)], &'static [(usize, usize)]);

const CUTS: [Cut; 5] = [
    (&[(Multicast, 0, 1)], &[(0, 1)]),
    (&[(Multicast, 0, 1), (Multicast, 1, 0)], &[(0, 1), (1, 0)]),
    // Node 0 cannot tell node 1 that it hears it, by any way: node 1 falls back, too, which costs a copy and is safe.
    (&[(Multicast, 0, 1), (Unicast, 0, 1)], &[(0, 1), (1, 0)]),
    (&[(Multicast, 0, 1), (Unicast, 1, 0)], &[(0, 1)]),
    (&[(Multicast, 0, 1), (Multicast, 1, 0), (Unicast, 0, 1), (Unicast, 1, 0)], &[(0, 1), (1, 0)]),
];

#[test]
fn every_cut_at_any_moment_falls_back_in_time_touches_nobody_else_and_returns() {
    for (cut, expected) in CUTS {
        for phase in 0..8 {
            let mut world = settled(3, phase);
            world.run(phase * 57);
            world.cut.extend(cut);
            world.run(FALL_BACK_MILLIS);
            assert_eq!(world.ways(Mode::Unicast), expected, "{cut:?} at phase {phase}");
            world.run(60_000);
            assert_eq!(world.changes.len(), expected.len(), "{cut:?} at phase {phase}: {:?}", world.changes);
            world.cut.clear();
            let hold = u64::try_from(HOLD_MIN.as_millis()).expect("short");
            world.run(hold - 100);
            assert_eq!(world.ways(Mode::Unicast), expected, "{cut:?} at phase {phase}: too soon");
            world.run(3_000);
            assert_eq!(world.ways(Mode::Unicast), [], "{cut:?} at phase {phase}: it works again");
        }
    }
}

/// The slowest way to notice: the peer says for a while yet that it hears, and then nothing of it arrives any more.
#[test]
fn a_peer_that_goes_silent_just_before_it_would_deny_is_given_up_in_time() {
    for silence in (0..5_000).step_by(100) {
        let mut world = settled(2, silence);
        world.cut.insert((Multicast, 0, 1));
        world.run(silence);
        world.cut.extend([(Multicast, 1, 0), (Unicast, 1, 0)]);
        world.run(FALL_BACK_MILLIS - silence);
        assert_eq!(world.mode(0, 1), Mode::Unicast, "silent after {silence} ms");
    }
}

#[test]
fn multicast_that_comes_and_goes_is_left_alone_and_a_long_cut_never_waits() {
    const MINUTES: Millis = 10;
    for period in [300, 700, 1_500, 3_000, 6_000, 12_000, 30_000] {
        let mut world = settled(2, period);
        let end = world.now + MINUTES * 60_000;
        while world.now < end {
            world.cut.insert((Multicast, 0, 1));
            world.run(period);
            if period >= FALL_BACK_MILLIS {
                assert_eq!(world.mode(0, 1), Mode::Unicast, "cut for {period} ms");
            }
            world.cut.clear();
            world.run(period);
        }
        assert!(world.changes.iter().all(|change| change.way == (0, 1)), "the other way was never cut");
        // Holds of 5, 10, 20, 40 s, and from then on of a minute.
        let falls = world.changes.iter().filter(|change| change.mode == Mode::Unicast).count();
        let most =
            4 + usize::try_from(MINUTES * 60_000 / u64::try_from(HOLD_MAX.as_millis()).expect("short")).expect("few");
        assert!(falls <= most, "{falls} falls in {MINUTES} minutes with a period of {period} ms");
    }
}

#[test]
fn a_node_whose_multicast_leaves_nowhere_falls_back_alone() {
    let mut world = settled(12, 3);
    world.cut.extend((1..12).map(|to| (Multicast, 0, to)));
    world.run(FALL_BACK_MILLIS);
    let alone: Vec<_> = (1..12).map(|to| (0, to)).collect();
    assert_eq!(world.ways(Mode::Unicast), alone);
    world.run(60_000);
    assert_eq!(world.ways(Mode::Unicast), alone);
    assert!(world.changes.iter().all(|change| change.why == Why::Denied), "{:?}", world.changes);
}

#[test]
fn a_switch_without_any_multicast_leaves_unicast_everywhere() {
    let mut world = World::new(6, 4);
    let all = (0..6).flat_map(|from| (0..6).map(move |to| (Multicast, from, to)));
    world.cut.extend(all);
    world.run(60_000);
    assert_eq!(world.changes, []);
    assert_eq!(world.ways(Mode::Multicast), []);
}

#[test]
fn loss_alone_hardly_ever_falls_back() {
    // Over 20 ways and five minutes; at 10 % five probes in a row are missing about once in ten minutes.
    for (loss_permille, falls_max) in [(10, 0), (100, 3)] {
        let mut world = settled(5, 5);
        world.loss_permille = loss_permille;
        world.run(300_000);
        let falls = world.changes.iter().filter(|change| change.mode == Mode::Unicast).count();
        assert!(falls <= falls_max, "{falls} falls at {loss_permille} permille: {:?}", world.changes);
    }
}

#[test]
fn a_node_that_stood_still_blames_nobody() {
    let mut world = settled(3, 6);
    world.frozen.insert(0);
    world.run(20_000);
    // To the others it is silent, which is all that they can know.
    let fell = |change: &Change| change.way.1 == 0 && change.mode == Mode::Unicast;
    assert!(world.changes.len() == 2 && world.changes.iter().all(fell), "{:?}", world.changes);
    world.frozen.clear();
    world.run(60_000);
    assert!(world.changes.iter().all(|change| change.way.1 == 0), "{:?}", world.changes);
    assert_eq!(world.ways(Mode::Unicast), []);
}

#[test]
fn what_a_probe_says_counts_only_among_those_who_know_the_same_members() {
    let mut world = settled(3, 7);
    // Echoes confirm as well; without them, and with another list at node 2, nothing does.
    world.give(2, Input::Members(&[uid(0), uid(1), uid(2), uid(77)]));
    world.run(30_000);
    assert_eq!(world.changes, [], "echoes confirm");
    world.cut.extend((0..3).flat_map(|from| (0..3).map(move |to| (Unicast, from, to))));
    world.run(FALL_BACK_MILLIS);
    assert_eq!(world.ways(Mode::Unicast), [(0, 2), (1, 2), (2, 0), (2, 1)]);
    assert!(world.changes.iter().all(|change| change.why == Why::Unconfirmed), "{:?}", world.changes);
}

#[test]
fn other_multicast_of_a_peer_counts_as_heard() {
    let mut world = settled(2, 8);
    world.cut.insert((Multicast, 0, 1));
    for _ in 0..30 {
        world.run(1_000);
        world.give(1, Input::Heard(uid(0)));
    }
    assert_eq!(world.changes, []);
    world.run(FALL_BACK_MILLIS);
    assert_eq!(world.ways(Mode::Unicast), [(0, 1)]);
}
