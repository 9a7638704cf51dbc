//! Own slots: coalescing, packing, budgets, repeats, tombstones, digests.

use std::time::Duration;

use acp_core_sync::{
    Budget, Config, Effect, Mode, Origin, PublishError, Range, SlotKey, To,
    limits::{DIGEST_PERIOD, FLUSH_DELAY, GROUP_REPEAT_MAX, MTU_BYTES, REPORTERS_MAX, TOMBSTONE_KEPT, VALUE_BYTES_MAX},
    wire::{Body, Known, Nack, Said, Summary},
};

use crate::harness::{HERE, OTHER, THERE, at, deltas, key, message, run, sent, stats, sync, with_config};

fn nack(incarnation: u64, ranges: Vec<Range>) -> Vec<u8> {
    message(Body::Nack(Nack { origin: Origin { node: HERE, incarnation }, ranges }))
}

#[test]
fn changes_of_a_slot_coalesce_and_leave_within_milliseconds_in_one_datagram() {
    let mut node = sync(HERE);
    // After a rest the first change leaves at once, and those that follow wait for each other.
    node.publish(at(0), &key(9), b"first"[..].into()).expect("room");
    assert_eq!(node.next_deadline(), at(0));
    assert_eq!(deltas(&run(&mut node, at(0))).len(), 1);
    for value in ["a", "b", "c"] {
        assert_eq!(node.publish(at(0), &key(1), value.as_bytes().into()), Ok(true));
    }
    assert_eq!(node.publish(at(0), &key(2), b"x"[..].into()), Ok(true));
    assert_eq!(node.publish(at(0), &key(2), b"x"[..].into()), Ok(false), "it has been said");
    assert!(node.withdraw(at(0), &key(2)), "nobody has heard of it");
    assert!(!node.withdraw(at(0), &key(2)));
    node.publish(at(0), &key(3), b"y"[..].into()).expect("room");
    assert_eq!(node.next_deadline(), at(0) + FLUSH_DELAY);
    let made = deltas(&run(&mut node, at(10)));
    let [(To::Group, delta)] = made.as_slice() else { panic!("{made:?}") };
    assert_eq!((delta.first, delta.last, delta.newest, delta.relayed), (2, 3, 3, false));
    let said: Vec<_> = delta.items.iter().map(|item| (item.sequence, item.key.clone(), item.age_ms)).collect();
    assert_eq!(said, [(2, key(1), 0), (3, key(3), 0)]);
}

#[test]
fn a_repeat_says_what_is_newest_and_never_what_was() {
    let mut node = sync(HERE);
    for value in 0..6_u8 {
        node.publish(at(10 * u64::from(value)), &key(u64::from(value % 2)), vec![value].into()).expect("room");
        run(&mut node, at(10 * u64::from(value) + 5));
    }
    node.receive(at(100), OTHER, &nack(5, vec![Range(1, 4), Range(6, 90)])).expect("fine");
    let made = deltas(&run(&mut node, at(120)));
    let answer: Vec<_> = made.iter().map(|(to, delta)| (*to, delta.first, delta.last, delta.items.len())).collect();
    assert_eq!(answer, [(To::Group, 1, 4, 0), (To::Group, 6, 6, 1)], "1 to 4 are void, 7 to 90 do not exist");
    assert_eq!(made[1].1.items[0].age_ms, 50 + 3, "as old as it is");
}

#[test]
fn who_lacks_much_or_is_not_reached_gets_its_own_answer() {
    let mut node = sync(HERE);
    for slot in 0..GROUP_REPEAT_MAX + 10 {
        node.publish(at(0), &key(slot), b"v"[..].into()).expect("room");
    }
    run(&mut node, at(100));
    node.receive(at(100), OTHER, &nack(5, vec![Range(1, GROUP_REPEAT_MAX + 1)])).expect("fine");
    node.set_mode(THERE, Mode::Unicast);
    node.receive(at(100), THERE, &nack(5, vec![Range(2, 2)])).expect("fine");
    let made = deltas(&run(&mut node, at(200)));
    assert!(made.iter().all(|(to, _)| matches!(to, To::Node(_))), "{made:?}");
    assert_eq!(made.iter().filter(|(to, _)| *to == To::Node(THERE)).count(), 1);
}

#[test]
fn peers_that_multicast_does_not_reach_get_copies_of_all_that_is_for_all() {
    let mut node = sync(HERE);
    node.set_mode(THERE, Mode::Unicast);
    node.publish(at(0), &key(1), b"v"[..].into()).expect("room");
    let to = |node: &mut _| deltas(&run(node, at(10))).into_iter().map(|(to, _)| to).collect::<Vec<_>>();
    assert_eq!(to(&mut node), [To::Node(THERE), To::Group]);
    node.set_mode(THERE, Mode::Multicast);
    node.publish(at(10), &key(1), b"w"[..].into()).expect("room");
    let made = run(&mut node, at(20));
    assert_eq!(deltas(&made).into_iter().map(|(to, _)| to).collect::<Vec<_>>(), [To::Group]);
}

#[test]
fn a_lane_over_its_budget_waits_and_holds_up_no_other() {
    let budget = Budget { bytes_per_second: 10_000, burst_bytes: 2_000 };
    let mut node = with_config(HERE, Config { stats: budget, ..Config::default() });
    for slot in 0..200 {
        node.publish(at(0), &stats(slot), vec![7; 50].into()).expect("room");
    }
    node.publish(at(0), &key(1), b"state"[..].into()).expect("room");
    let early = deltas(&run(&mut node, at(5)));
    let first: Vec<&SlotKey> = early.iter().flat_map(|(_, delta)| &delta.items).map(|item| &item.key).collect();
    assert!(first.contains(&&key(1)) && first.len() < 40, "{} items", first.len());
    let items =
        |made: &[(To, acp_core_sync::wire::Delta)]| made.iter().map(|(_, delta)| delta.items.len()).sum::<usize>();
    node.publish(at(50), &key(1), b"more"[..].into()).expect("room");
    let soon = deltas(&run(&mut node, at(53)));
    assert!(soon.iter().flat_map(|(_, delta)| &delta.items).any(|item| item.key == key(1)), "it need not wait");
    let second = items(&soon) + items(&deltas(&run(&mut node, at(1_005))));
    assert!((60..140).contains(&second), "{second} items of about 100 bytes in a second of 10,000");
    assert_eq!(first.len() + second + items(&deltas(&run(&mut node, at(10_000)))), 202);
}

#[test]
fn a_tombstone_is_repeated_until_it_is_old_and_then_raises_the_horizon() {
    let mut node = sync(HERE);
    node.publish(at(0), &key(1), b"v"[..].into()).expect("room");
    run(&mut node, at(10));
    assert!(node.withdraw(at(10), &key(1)));
    run(&mut node, at(20));
    let ask = |node: &mut acp_core_sync::Sync, now| {
        node.receive(now, OTHER, &nack(5, vec![Range(1, 2)])).expect("fine");
        let (_, delta) = deltas(&run(node, now + Duration::from_millis(50))).remove(0);
        (delta.horizon, delta.items.into_iter().map(|item| (item.sequence, item.said)).collect::<Vec<_>>())
    };
    assert_eq!(ask(&mut node, at(1_000)), (0, vec![(2, Said::Gone)]));
    run(&mut node, at(30) + TOMBSTONE_KEPT + DIGEST_PERIOD * 2);
    assert_eq!(ask(&mut node, at(1_000) + TOMBSTONE_KEPT + DIGEST_PERIOD * 2), (2, vec![]));
}

#[test]
fn a_digest_is_as_long_for_many_slots_as_for_few_and_comes_in_time() {
    let longest = |slots: u64| {
        let mut node = sync(HERE);
        (0..slots).for_each(|slot| assert!(node.publish(at(0), &key(slot), b"v"[..].into()).is_ok()));
        let effects = run(&mut node, at(20_000));
        let digests: Vec<_> = sent(&effects).into_iter().filter(|(_, body)| matches!(body, Body::Digest(_))).collect();
        assert!((8..=20).contains(&digests.len()), "{} in 20 s", digests.len());
        digests.into_iter().map(|(_, body)| message(body).len()).max().expect("some")
    };
    assert!(longest(5_000) <= longest(1) + 16);
}

#[test]
fn bounds_are_refused_and_change_nothing() {
    let mut node = with_config(HERE, Config { own_slots_max: 2, own_bytes_max: 100, ..Config::default() });
    let named = |name: String| SlotKey { reporter: name.into(), ..key(1) };
    let put =
        |node: &mut acp_core_sync::Sync, key: &SlotKey, bytes: usize| node.publish(at(0), key, vec![1; bytes].into());
    assert_eq!(put(&mut node, &named(String::new()), 1), Err(PublishError::ReporterName(0)));
    assert_eq!(put(&mut node, &named("r".repeat(33)), 1), Err(PublishError::ReporterName(33)));
    assert_eq!(put(&mut node, &key(1), VALUE_BYTES_MAX + 1), Err(PublishError::TooLarge(VALUE_BYTES_MAX + 1)));
    assert_eq!(put(&mut node, &key(1), 90), Ok(true));
    assert_eq!(put(&mut node, &key(2), 11), Err(PublishError::Full { slots: 1, bytes: 90 }));
    assert_eq!(put(&mut node, &key(1), 50), Ok(true), "it takes the place of its own");
    assert_eq!(put(&mut node, &key(2), 50), Ok(true));
    assert_eq!(put(&mut node, &key(3), 0), Err(PublishError::Full { slots: 2, bytes: 100 }));
    assert!(node.withdraw(at(0), &key(2)));
    assert_eq!(put(&mut node, &key(3), 50), Ok(true));
    assert_eq!(node.own_slots().count(), 2);
    let mut node = sync(HERE);
    for number in 0..REPORTERS_MAX {
        assert_eq!(put(&mut node, &named(format!("r{number}")), 1), Ok(true));
    }
    assert_eq!(put(&mut node, &named("one more".into()), 1), Err(PublishError::Reporters));
}

#[test]
fn who_has_lived_before_goes_on_above_that_life() {
    let ways: [(&str, Vec<u8>); 3] = [
        ("told", nack(8, Vec::new())),
        ("compared", {
            let origin = Origin { node: HERE, incarnation: 8 };
            let known = vec![Known { origin, contiguous: 3, highest: 3, count: 3, hash: Some(3), silent: false }];
            let (first, last) = (HERE, OTHER);
            message(Body::Summary(Summary { joining: false, first, last, known }))
        }),
        ("the same incarnation twice", {
            let origin = Origin { node: HERE, incarnation: 5 };
            let known = vec![Known { origin, contiguous: 99, highest: 99, count: 99, hash: Some(99), silent: false }];
            let (first, last) = (HERE, OTHER);
            message(Body::Summary(Summary { joining: false, first, last, known }))
        }),
    ];
    for (way, bytes) in ways {
        let mut node = sync(HERE);
        (0..3).for_each(|slot| assert!(node.publish(at(0), &key(slot), b"v"[..].into()).is_ok()));
        run(&mut node, at(10));
        assert!(node.withdraw(at(10), &key(0)));
        run(&mut node, at(20));
        node.receive(at(30), OTHER, &bytes).expect("fine");
        let effects = run(&mut node, at(30));
        let incarnation = node.origin().incarnation;
        assert!(incarnation > if way == "the same incarnation twice" { 5 } else { 8 }, "{way}: {incarnation}");
        assert!(effects.iter().any(|(_, effect)| *effect == Effect::BegunAgain { incarnation }), "{way}");
        assert_eq!(node.origin(), Origin { node: HERE, incarnation });
        let digest = sent(&effects)
            .into_iter()
            .find_map(|(_, body)| if let Body::Digest(digest) = body { Some(digest) } else { None });
        let digest = digest.expect("said at once");
        assert_eq!(
            (digest.origin.incarnation, digest.newest, digest.slots.count, digest.horizon),
            (incarnation, 2, 2, 0),
            "{way}"
        );
    }
}

#[test]
fn every_datagram_of_a_burst_fits_and_bursts_are_paced() {
    let mut node = sync(HERE);
    for slot in 0..3_000 {
        node.publish(at(0), &key(slot), vec![1; usize::try_from(slot % 900).expect("small")].into()).expect("room");
    }
    let effects = run(&mut node, at(5_000));
    let mut by_time = std::collections::BTreeMap::<_, usize>::new();
    for (now, effect) in &effects {
        if let Effect::Send { bytes, .. } = effect {
            assert!(bytes.len() <= MTU_BYTES);
            *by_time.entry(*now).or_default() += 1;
        }
    }
    assert!(by_time.values().all(|count| *count <= acp_core_sync::limits::DATAGRAMS_PER_WAKE + 1), "{by_time:?}");
    let (mut next, mut items) = (1, 0);
    for (_, delta) in deltas(&effects) {
        assert_eq!(delta.first, next);
        next = delta.last + 1;
        items += delta.items.len();
    }
    assert_eq!(items, 3_000);
}
