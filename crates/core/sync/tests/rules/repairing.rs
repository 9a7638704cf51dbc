//! Gaps, NACKs, sweeps, and what nodes tell each other of a third.

use acp_base::{BootInstant, Uid};
use acp_core_sync::{
    Effect, Mode, Origin, Range, Sync, To,
    limits::{NACK_DELAY, NACK_JITTER, NACK_RETRY_MAX, SILENT_AFTER},
    wire::{Body, Delta, Digest, Nack, Summary},
};

use crate::harness::{HERE, OTHER, THERE, at, delta, deltas, gone, held, item, key, message, run, sent, sync};

fn give(node: &mut Sync, now: BootInstant, delta: Delta) {
    let from = if delta.relayed { OTHER } else { delta.origin.node };
    node.receive(now, from, &message(Body::Delta(delta))).expect("fine");
}

fn nacks(effects: &[(BootInstant, Effect)]) -> Vec<(To, Vec<Range>)> {
    let nacks = sent(effects).into_iter().filter_map(|(to, body)| match body {
        Body::Nack(nack) => Some((to, nack.ranges)),
        _ => None,
    });
    nacks.collect()
}

fn gap() -> Sync {
    let mut node = sync(HERE);
    give(&mut node, at(0), delta(5, 1, 1, vec![item(1, 1, "a")]));
    give(&mut node, at(0), delta(5, 4, 4, vec![item(4, 4, "d")]));
    node
}

#[test]
fn a_gap_is_asked_for_once_it_is_no_reordering() {
    let latest = at(0) + NACK_DELAY + NACK_JITTER;
    let mut node = gap();
    assert_eq!(nacks(&run(&mut node, at(4))), []);
    assert_eq!(nacks(&run(&mut node, latest)), [(To::Group, vec![Range(2, 3)])]);
    let mut node = gap();
    give(&mut node, at(3), delta(5, 2, 3, vec![]));
    assert_eq!(nacks(&run(&mut node, latest)), [], "it came by itself");
    let mut node = gap();
    node.set_mode(THERE, Mode::Unicast);
    assert_eq!(nacks(&run(&mut node, latest)), [(To::Node(THERE), vec![Range(2, 3)])]);
}

#[test]
fn who_hears_another_ask_for_the_same_waits() {
    let heard = |ranges: Vec<Range>| {
        let mut node = gap();
        let nack = Nack { origin: Origin { node: THERE, incarnation: 5 }, ranges };
        node.receive(at(2), OTHER, &message(Body::Nack(nack))).expect("fine");
        (nacks(&run(&mut node, at(60))).len(), node.counters().suppressed)
    };
    assert_eq!(heard(vec![Range(1, 9)]), (0, 1));
    assert_eq!(heard(vec![Range(2, 2), Range(3, 3)]), (1, 0), "not as one");
    assert_eq!(heard(vec![Range(3, 3)]), (1, 0), "not all of it");
    assert_eq!(heard(vec![Range(1, 9_000)]), (1, 0), "that answer goes to the other alone");
}

#[test]
fn asking_backs_off_and_ends_when_the_origin_falls_silent() {
    let mut node = gap();
    let effects = run(&mut node, at(0) + SILENT_AFTER * 4);
    let asked: Vec<BootInstant> =
        effects.iter().filter(|(at, effect)| !nacks(&[(*at, effect.clone())]).is_empty()).map(|(at, _)| *at).collect();
    assert!((5..=9).contains(&asked.len()), "{asked:?}");
    assert!(asked.last().is_some_and(|last| last.since(at(0)) <= SILENT_AFTER + NACK_RETRY_MAX));
    give(&mut node, at(40_000), delta(5, 5, 5, vec![]));
    assert_eq!(nacks(&run(&mut node, at(40_100))), [(To::Group, vec![Range(2, 3)])], "it is back");
}

#[test]
fn a_lost_last_datagram_is_noticed_by_the_digest() {
    let (mut here, mut there) = (sync(HERE), sync(THERE));
    there.publish(at(0), &key(1), b"v"[..].into()).expect("room");
    for (_, effect) in run(&mut there, at(100)) {
        if let Effect::Send { bytes, .. } = effect
            && deltas(&[(at(0), Effect::Send { to: To::Group, bytes: bytes.clone() })]).is_empty()
        {
            here.receive(at(100), THERE, &bytes).expect("fine");
        }
    }
    assert_eq!(nacks(&run(&mut here, at(140))), [(To::Group, vec![Range(1, 1)])]);
}

#[test]
fn a_gap_below_the_horizon_is_swept_and_takes_what_is_gone_with_it() {
    let mut node = sync(HERE);
    give(&mut node, at(0), delta(5, 1, 3, vec![item(1, 1, "a"), item(2, 2, "b"), item(3, 3, "c")]));
    // Sequence 4 withdrew slot 2 and was lost; its tombstone is kept no more.
    let mut later = delta(5, 6, 6, vec![item(6, 6, "f")]);
    later.horizon = 4;
    give(&mut node, at(10), later);
    assert_eq!(nacks(&run(&mut node, at(45))), [(To::Group, vec![Range(1, 5)])]);
    let part = |first, last, items| Delta { newest: 6, horizon: 4, ..delta(5, first, last, items) };
    give(&mut node, at(50), part(1, 2, vec![item(1, 1, "a")]));
    assert_eq!(held(&node, at(50)).len(), 4, "not before all is here: a newer value may be on its way");
    give(&mut node, at(50), part(3, 5, vec![item(3, 3, "c"), item(5, 5, "e")]));
    let values = held(&node, at(50)).into_iter().map(|(slot, _)| slot).collect::<Vec<_>>();
    assert_eq!(values, [1, 3, 5, 6]);
    assert_eq!(nacks(&run(&mut node, at(6_000))), []);
}

#[test]
fn a_replica_that_differs_though_it_lacks_nothing_goes_through_everything() {
    let (mut here, mut there) = (sync(HERE), sync(THERE));
    for slot in 0..4 {
        there.publish(at(0), &key(slot), b"v"[..].into()).expect("room");
    }
    run(&mut there, at(10));
    // What somebody else's mistake might leave here: slot 9 does not exist, slot 3 is not here.
    give(&mut here, at(10), delta(5, 1, 4, vec![item(1, 0, "v"), item(2, 1, "v"), item(3, 2, "v"), item(4, 9, "v")]));
    let mut now = at(10);
    while now < at(9_000) {
        now = now + NACK_DELAY;
        for (from, to) in [(true, false), (false, true)] {
            let (source, target) = if from { (&mut there, &mut here) } else { (&mut here, &mut there) };
            source.wake(now);
            let uid = source.origin().node;
            for effect in source.effects().collect::<Vec<_>>() {
                if let Effect::Send { bytes, .. } = effect {
                    target.receive(now, uid, &bytes).expect("fine");
                }
            }
            assert_ne!(from, to);
        }
    }
    assert_eq!(held(&here, now).into_iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

/// What one node answers to a summary of another that knows nothing.
fn answers(node: &mut Sync, now: BootInstant, joining: bool) -> Vec<(To, Delta)> {
    let (first, last) = (Uid::from_u128(0), Uid::from_u128(u128::MAX));
    let summary = Summary { joining, first, last, known: Vec::new() };
    node.receive(now, OTHER, &message(Body::Summary(summary))).expect("fine");
    let made = deltas(&run(node, now + NACK_JITTER));
    made.into_iter().filter(|(_, delta)| delta.origin.node == THERE).collect()
}

#[test]
fn the_slots_of_a_dead_node_are_told_by_another_with_their_age() {
    let mut node = sync(HERE);
    give(&mut node, at(0), delta(5, 1, 3, vec![item(1, 1, "a"), item(2, 2, "b"), gone(3, 3)]));
    assert_eq!(answers(&mut node, at(1_000), true), [], "the joiner will hear it itself");
    let told = answers(&mut node, at(20_000), true);
    let [(To::Node(OTHER), delta)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((delta.first, delta.last, delta.newest, delta.relayed), (1, 3, 3, true));
    assert_eq!(delta.items.len(), 3, "tombstones too");
    assert!(delta.items.iter().all(|item| (20_000..20_030).contains(&item.age_ms)), "{delta:?}");
    let mut joiner = sync(Uid::from_u128(9));
    joiner.receive(at(20_100), HERE, &message(Body::Delta(delta.clone()))).expect("fine");
    let slot = joiner.get(at(30_100), THERE, &key(1)).expect("told");
    assert!(slot.relayed && slot.age.as_millis() >= 30_000, "{slot:?}");
    assert_eq!(joiner.origins(at(30_100)).next().and_then(|state| state.silence), None, "never heard itself");
}

#[test]
fn what_is_relayed_gives_way_to_what_is_newer_alone() {
    let mut node = sync(HERE);
    give(&mut node, at(0), delta(5, 1, 2, vec![item(1, 1, "a"), item(2, 2, "newest")]));
    let relayed = |incarnation, items| Delta { relayed: true, ..delta(incarnation, 1, 2, items) };
    give(&mut node, at(1), relayed(5, vec![item(1, 2, "older"), item(2, 1, "same sequence")]));
    give(&mut node, at(1), relayed(4, vec![item(1, 1, "older life"), item(2, 2, "older life")]));
    let values: Vec<String> = held(&node, at(1)).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["a", "newest"]);
    give(&mut node, at(1), Delta { relayed: true, ..delta(5, 3, 3, vec![item(3, 1, "newer")]) });
    let values: Vec<String> = held(&node, at(1)).into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["newer", "newest"]);
}

#[test]
fn too_many_gaps_wait_to_be_repeated() {
    let mut node = sync(HERE);
    for number in 0..80 {
        give(&mut node, at(0), delta(5, 2 * number + 2, 2 * number + 2, vec![]));
    }
    assert_eq!(node.counters().deferred, 80 - 64);
    let asked = nacks(&run(&mut node, at(35)));
    assert!(matches!(asked.as_slice(), [(To::Group, ranges)] if ranges.len() == 24), "{asked:?}");
}

#[test]
fn an_old_digest_changes_nothing() {
    let mut node = sync(HERE);
    give(&mut node, at(0), delta(5, 1, 2, vec![item(1, 1, "a"), item(2, 2, "b")]));
    let origin = Origin { node: THERE, incarnation: 5 };
    let slots = acp_core_sync::Rolling::default();
    let digest = Digest { origin, newest: 1, horizon: 0, slots, reporters: Vec::new(), meta: None };
    node.receive(at(1), THERE, &message(Body::Digest(digest))).expect("fine");
    assert_eq!((nacks(&run(&mut node, at(3_000))), held(&node, at(3_000)).len()), (vec![], 2));
}
