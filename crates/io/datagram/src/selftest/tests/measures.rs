//! What is measured on the way, and what it costs.

use std::time::Duration;

use super::{
    super::{
        Input, Mode, Now, Output, SelfTest,
        limits::{ECHOES_PER_TICK, MEMBERS_MAX, PROBE_TICKS},
    },
    world::{World, uid},
};
use crate::{limits::PAYLOAD_BYTES_MAX, path::Path};
use acp_base::{BootInstant, WallTime};

#[test]
fn clocks_that_differ_are_told_apart_to_the_millisecond_or_two() {
    let mut world = World::new(3, 1);
    world.offsets_millis = vec![0, 250, -86_400_000];
    world.run(30_000);
    for (from, to, expected) in [(0, 1, 250), (1, 0, -250), (2, 1, 86_400_250), (1, 2, -86_400_250)] {
        let offset = world.report(from, to).clock_offset_millis.expect("measured");
        assert!((offset - expected).abs() <= 2, "{from} sees {to} ahead by {offset} ms");
    }
    let trip = world.report(0, 1).round_trip.expect("measured");
    assert!((Duration::from_millis(2)..=Duration::from_millis(6)).contains(&trip), "{trip:?}");
}

#[test]
fn loss_is_seen_as_it_is_by_both_ways() {
    let mut world = World::new(2, 2);
    world.loss_permille = 100;
    world.run(120_000);
    let report = world.report(0, 1);
    // 64 samples; an echo is lost there or back. Four standard deviations.
    let (multicast, unicast) = (report.multicast_loss_permille, report.unicast_loss_permille);
    assert!(multicast.is_some_and(|loss| (1..=250).contains(&loss)), "{multicast:?}");
    assert!(unicast.is_some_and(|loss| (20..=400).contains(&loss)), "{unicast:?}");
    world.loss_permille = 0;
    world.run(120_000);
    let report = world.report(0, 1);
    assert_eq!((report.multicast_loss_permille, report.unicast_loss_permille), (Some(0), Some(0)));
    assert!(report.hears && report.is_heard);
}

#[test]
fn a_direction_is_named_as_what_it_is() {
    let mut world = World::new(2, 3);
    world.cut.insert((Path::Multicast, 0, 1));
    world.run(20_000);
    let (there, back) = (world.report(0, 1), world.report(1, 0));
    assert_eq!((there.mode, there.hears, there.is_heard), (Mode::Unicast, false, true));
    assert_eq!((back.mode, back.hears, back.is_heard), (Mode::Multicast, true, false));
}

#[test]
fn a_node_sends_the_same_however_many_there_are() {
    for count in [5, 40] {
        let mut world = World::new(count, 4);
        world.run(20_000);
        assert_eq!(world.ways(Mode::Unicast), [], "of {count}");
        for node in 0..count {
            let multicast = world.sent[&(node, Path::Multicast)];
            assert!((49..=51).contains(&multicast), "{multicast} probes in 20 s among {count}");
            // Questions of its own, once a second and peer, and answers to as many, and to those of other sizes.
            let unicast = world.sent[&(node, Path::Unicast)];
            assert!(unicast <= (2 * 21 + 6) * (count as u64 - 1), "{unicast} echoes in 20 s among {count}");
        }
    }
}

#[test]
fn with_more_members_than_take_part_traffic_and_sizes_keep_their_bounds() {
    let at = |millis| Now { boot: BootInstant::from_millis(millis), wall: WallTime(millis) };
    let members: Vec<_> = (0..MEMBERS_MAX + 500).map(uid).collect();
    let mut test = SelfTest::new(uid(0), at(0).boot, Duration::ZERO);
    let mut out = Vec::new();
    test.step(at(0), Input::Members(&members), &mut out);
    assert_eq!(test.unicast_peers().count(), MEMBERS_MAX - 1);
    assert_eq!(test.mode(uid(MEMBERS_MAX + 1)), Mode::Unicast);
    for tick in 0..20 {
        out.clear();
        let now = test.next_deadline().as_nanos() / 1_000_000;
        test.step(at(now), Input::Tick, &mut out);
        let sizes = out.iter().map(|output| match output {
            Output::Multicast(payload) | Output::Unicast(_, payload) | Output::Whole(_, payload) => payload.len(),
            Output::Changed { .. } => panic!("nobody has said anything"),
        });
        assert!(sizes.max().is_some_and(|size| size <= PAYLOAD_BYTES_MAX));
        let probes = usize::from((tick + 1) % PROBE_TICKS == 0);
        assert_eq!(out.len(), ECHOES_PER_TICK + probes);
    }
}

#[test]
fn a_peer_that_asks_too_often_is_answered_now_and_then() {
    let at = |millis| Now { boot: BootInstant::from_millis(millis), wall: WallTime(millis) };
    let mut test = SelfTest::new(uid(0), at(0).boot, Duration::ZERO);
    let mut out = Vec::new();
    test.step(at(0), Input::Members(&[uid(1)]), &mut out);
    let ask = super::super::message::Message::Ask { token: 1, is_heard: false }.to_bytes();
    for millis in 0..1_000 {
        test.step(at(millis), Input::Message { from: uid(1), path: Path::Unicast, payload: &ask }, &mut out);
        test.step(at(millis), Input::Message { from: uid(2), path: Path::Unicast, payload: &ask }, &mut out);
    }
    assert_eq!(out.len(), 10, "and a stranger not at all");
}

#[test]
fn who_is_a_member_no_more_is_forgotten_and_begins_anew() {
    let mut world = World::new(3, 5);
    world.run(10_000);
    assert_eq!(world.mode(0, 1), Mode::Multicast);
    world.give(0, Input::Members(&[uid(2)]));
    assert_eq!((world.mode(0, 1), world.mode(0, 2)), (Mode::Unicast, Mode::Multicast));
    world.give(0, Input::Members(&[uid(0), uid(1), uid(2)]));
    assert_eq!(world.mode(0, 1), Mode::Unicast);
    assert_eq!(world.report(0, 1).round_trip, None);
}

#[test]
fn who_is_heard_and_does_not_hear_is_asked_first() {
    let at = |millis| Now { boot: BootInstant::from_millis(millis), wall: WallTime(millis) };
    let members: Vec<_> = (0..60).map(uid).collect();
    let mut test = SelfTest::new(uid(0), at(0).boot, Duration::ZERO);
    let mut out = Vec::new();
    test.step(at(0), Input::Members(&members), &mut out);
    test.step(at(0), Input::Heard(uid(59)), &mut out);
    test.step(at(0), Input::Tick, &mut out);
    assert!(matches!(&out[0], Output::Unicast(peer, _) if *peer == uid(59)), "{out:?}");
}

#[test]
fn a_narrow_way_is_told_apart_from_loss_and_costs_little() {
    let mut world = World::new(5, 6);
    world.loss_permille = 100;
    world.run(60_000);
    let reports = |world: &World| (1..5).map(|to| world.report(0, to)).collect::<Vec<_>>();
    assert!(reports(&world).iter().all(|report| report.datagram_bytes == Some(1_400)), "{:?}", reports(&world));
    world.loss_permille = 0;
    world.carries = 1_250;
    world.run(20_000);
    assert!(reports(&world).iter().all(|report| report.datagram_bytes == Some(1_232)), "{:?}", reports(&world));
    assert!(reports(&world).iter().all(|report| report.unicast_loss_permille < Some(200)), "{:?}", reports(&world));
    world.carries = 1_400;
    world.run(10_000);
    assert!(reports(&world).iter().all(|report| report.datagram_bytes == Some(1_400)), "{:?}", reports(&world));
}
