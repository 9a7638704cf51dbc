//! Slots of others: what is taken, what is refused and counted.

use std::time::Duration;

use acp_base::{EpochId, Uid};
use acp_core_sync::{
    Config, Effect, Origin, Refused, Slot, To,
    wire::{Body, DecodeError, Delta, Digest, FEATURE_LEVEL, Header, Item, Message, Nack, Rolling, Stand, encode},
};

use crate::harness::{
    EPOCH, HERE, OTHER, THERE, at, delta, gone, held, item, key, message, run, sent, stats, sync, with_config,
};

fn give(node: &mut acp_core_sync::Sync, delta: Delta) {
    let from = if delta.relayed { OTHER } else { delta.origin.node };
    node.receive(at(1), from, &message(Body::Delta(delta))).expect("fine");
}

/// Every order in which incarnation and sequence of what is held and what comes can stand.
#[test]
fn the_higher_incarnation_then_the_higher_sequence_wins() {
    for (incarnation, sequence) in [(4, 1), (4, 9), (5, 1), (5, 4), (5, 5), (5, 6), (6, 1), (6, 5), (6, 9)] {
        let mut node = sync(HERE);
        give(&mut node, delta(5, 5, 5, vec![item(5, 1, "held")]));
        give(&mut node, delta(incarnation, sequence, sequence, vec![item(sequence, 1, "comes")]));
        let wins = (incarnation, sequence) > (5, 5);
        let expected = if wins { "comes" } else { "held" };
        assert_eq!(held(&node, at(1)), [(1, expected.to_owned())], "({incarnation}, {sequence})");
        assert_eq!(node.counters().stale_incarnation, u64::from(incarnation < 5));
    }
}

#[test]
fn a_higher_incarnation_replaces_all_of_the_lower() {
    let mut node = sync(HERE);
    give(&mut node, delta(5, 1, 2, vec![item(1, 1, "a"), item(2, 2, "b")]));
    drop(node.effects());
    give(&mut node, delta(6, 1, 1, vec![item(1, 2, "c")]));
    let changes: Vec<_> = node
        .effects()
        .filter_map(|effect| match effect {
            Effect::Changed { origin, key, slot } => Some((origin.incarnation, key, slot.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [(5, key(1), false), (5, key(2), false), (6, key(2), true)]);
    assert_eq!(held(&node, at(1)), [(2, "c".to_owned())]);
    assert_eq!(node.used(), (1, 1));
}

#[test]
fn who_speaks_under_an_old_incarnation_is_told() {
    let mut node = sync(HERE);
    give(&mut node, delta(5, 1, 1, vec![item(1, 1, "a")]));
    give(&mut node, delta(4, 1, 1, vec![item(1, 1, "old")]));
    let told = |node: &mut _| {
        let effects = run(node, at(400));
        sent(&effects)
            .into_iter()
            .filter(|(_, body)| matches!(body, Body::Nack(nack) if nack.ranges.is_empty()))
            .collect::<Vec<_>>()
    };
    let nack = Nack { origin: Origin { node: THERE, incarnation: 5 }, ranges: Vec::new() };
    let mut other = node;
    assert_eq!(told(&mut other), [(To::Group, Body::Nack(nack.clone()))]);
    let mut node = sync(HERE);
    give(&mut node, delta(5, 1, 1, vec![item(1, 1, "a")]));
    give(&mut node, delta(4, 1, 1, vec![item(1, 1, "old")]));
    node.receive(at(2), OTHER, &message(Body::Nack(nack))).expect("fine");
    assert_eq!(told(&mut node), [], "another has told it");
}

#[test]
fn what_was_deleted_does_not_come_back_with_a_late_datagram() {
    let mut node = sync(HERE);
    let first = delta(5, 1, 1, vec![item(1, 1, "a")]);
    give(&mut node, delta(5, 2, 2, vec![gone(2, 1)]));
    for _ in 0..2 {
        give(&mut node, first.clone());
        assert_eq!(held(&node, at(1)), [], "its end came before it");
    }
    give(&mut node, delta(5, 3, 3, vec![item(3, 1, "b")]));
    give(&mut node, first);
    assert_eq!(held(&node, at(1)), [(1, "b".to_owned())]);
}

#[test]
fn messages_are_refused_with_their_reason_and_counted() {
    let mut node = sync(HERE);
    let body = || Body::Delta(delta(5, 1, 1, vec![item(1, 1, "a")]));
    let with = |level, epoch| encode(&Message { header: Header { level, epoch }, body: body() });
    assert_eq!(node.receive(at(0), OTHER, &message(body())), Err(Refused::NotItsOwn { from: OTHER, origin: THERE }));
    let theirs = EpochId { number: 3, id: Uid::from_u128(34) };
    assert_eq!(node.receive(at(0), THERE, &with(1, theirs)), Err(Refused::Epoch { theirs, ours: EPOCH }));
    let newer = FEATURE_LEVEL + 1;
    assert_eq!(node.receive(at(0), THERE, &with(newer, EPOCH)), Err(Refused::Decode(DecodeError::Level(newer))));
    assert!(node.receive(at(0), THERE, b"noise").is_err());
    node.forget(THERE);
    assert_eq!(node.receive(at(0), THERE, &message(body())), Err(Refused::Forgotten(THERE)));
    let relayed = Body::Delta(Delta { relayed: true, ..delta(5, 1, 1, vec![]) });
    assert_eq!(node.receive(at(0), OTHER, &message(relayed)), Err(Refused::Forgotten(THERE)));
    let counters = node.counters();
    assert_eq!((counters.not_its_own, counters.epoch, counters.feature_level), (1, 1, 1));
    assert_eq!((counters.unreadable, counters.forgotten), (1, 2));
    assert_eq!((held(&node, at(0)), node.used()), (vec![], (0, 0)));
    node.admit(THERE);
    node.set_epoch(theirs);
    assert_eq!(node.receive(at(0), THERE, &with(1, theirs)), Ok(()));
    assert_eq!(held(&node, at(0)), [(1, "a".to_owned())]);
}

#[test]
fn forgetting_a_node_tells_of_each_slot() {
    let mut node = sync(HERE);
    give(&mut node, delta(5, 1, 3, vec![item(1, 1, "a"), gone(2, 2), item(3, 3, "b")]));
    drop(node.effects());
    node.forget(THERE);
    let gone: Vec<_> = node.effects().collect();
    let origin = Origin { node: THERE, incarnation: 5 };
    let expected = [1, 3].map(|slot| Effect::Changed { origin, key: key(slot), slot: None });
    assert_eq!(gone, expected);
    assert_eq!((node.used(), node.origins(at(1)).count()), ((0, 0), 0));
}

#[test]
fn a_silent_origin_keeps_its_slots_and_they_grow_old() {
    let mut node = sync(HERE);
    let mut said = item(1, 1, "a");
    said.age_ms = 700;
    give(&mut node, delta(5, 1, 1, vec![said]));
    run(&mut node, at(3_600_000));
    let now = at(3_600_001);
    let age = Duration::from_millis(3_600_000 + 700);
    assert_eq!(node.get(now, THERE, &key(1)), Some(Slot { value: b"a"[..].into(), sequence: 1, age, relayed: false }));
    assert_eq!(node.origins(now).map(|state| state.silence).collect::<Vec<_>>(), [Some(Duration::from_secs(3_600))]);
}

#[test]
fn ages_out_of_this_world_do_no_harm() {
    let mut node = sync(HERE);
    give(&mut node, delta(5, 1, 1, vec![Item { age_ms: u64::MAX, ..item(1, 1, "a") }]));
    assert!(node.get(at(5), THERE, &key(1)).is_some_and(|slot| slot.age > Duration::from_secs(1 << 40)));
}

#[test]
fn a_digest_that_agrees_says_whose_states_stand() {
    let (mut here, mut there) = (sync(HERE), sync(THERE));
    there.publish(at(0), &key(1), b"v"[..].into()).expect("room");
    there.confirm(at(40), "hypervisor");
    // Neither a measurement nor another state says anything of this one.
    there.publish(at(70), &stats(1), b"9"[..].into()).expect("room");
    there.publish(at(80), &key(2), b"w"[..].into()).expect("room");
    there.wake(at(90));
    for (_, effect) in run(&mut there, at(200)) {
        if let Effect::Send { bytes, .. } = effect {
            here.receive(at(201), THERE, &bytes).expect("fine");
        }
    }
    let stood = |node: &mut acp_core_sync::Sync| {
        node.effects().filter(|effect| matches!(effect, Effect::Stood { .. })).collect::<Vec<_>>()
    };
    let said = stood(&mut here);
    let Some(Effect::Stood { origin, reporter, age }) = said.last() else { panic!("{said:?}") };
    assert_eq!((origin.node, &**reporter), (THERE, "hypervisor"));
    assert!((50..200).contains(&age.as_millis()), "{said:?}");
    let reporters = vec![Stand { reporter: "hypervisor".into(), age_ms: 0 }];
    let slots = Rolling { count: 1, hash: 1 };
    let origin = Origin { node: THERE, incarnation: 5 };
    let other = Digest { origin, newest: 1, horizon: 0, slots, reporters, meta: None };
    here.receive(at(300), THERE, &message(Body::Digest(other))).expect("fine");
    assert_eq!(stood(&mut here), [], "this replica holds something else");
}

#[test]
fn room_is_shared_and_kept_count_of() {
    let config = Config { slots_max: 3, bytes_max: 10, ..Config::default() };
    let mut node = with_config(HERE, config);
    give(&mut node, delta(5, 1, 2, vec![item(1, 1, "12345"), item(2, 2, "123456")]));
    assert_eq!((held(&node, at(1)).len(), node.used(), node.counters().no_room), (1, (1, 5), 1));
    give(&mut node, delta(5, 3, 6, vec![item(3, 1, "1"), item(4, 3, "1"), item(5, 4, "1"), item(6, 5, "1")]));
    assert_eq!((held(&node, at(1)).len(), node.used(), node.counters().no_room), (3, (3, 3), 2));
}
