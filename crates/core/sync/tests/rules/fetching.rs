//! Large values: announced, fetched part by part, shown when whole.

use std::sync::Arc;

use acp_base::{BootInstant, Uid};
use acp_core_sync::{
    Sync,
    limits::{INLINE_BYTES_MAX, SILENT_AFTER, VALUE_BYTES_MAX},
    wire::{Blob, Body, Part},
};

use crate::harness::{HERE, OTHER, THERE, at, carry, key, message, run, sent, sync};

/// A value whose parts differ.
fn large(bytes: usize, seed: usize) -> Arc<[u8]> {
    (0..bytes).map(|index| u8::try_from((index / 7 + seed) % 251).expect("small")).collect()
}

fn value(node: &Sync, now: BootInstant, of: Uid) -> Option<Arc<[u8]>> {
    node.get(now, of, &key(1)).map(|slot| slot.value)
}

#[test]
fn large_values_come_whole_at_every_size() {
    for bytes in [INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 1_040 * 3, 1_040 * 3 + 1, VALUE_BYTES_MAX] {
        let mut nodes = [sync(HERE), sync(THERE)];
        nodes[1].publish(at(0), &key(1), large(bytes, 0)).expect("room");
        let mut parts = 0;
        carry(&mut nodes, 0, 100, |body| {
            parts += usize::from(matches!(body, Body::Part(_)));
            false
        });
        assert_eq!(value(&nodes[0], at(100), THERE), Some(large(bytes, 0)), "{bytes} bytes");
        assert_eq!(parts, if bytes > INLINE_BYTES_MAX { bytes.div_ceil(1_040) } else { 0 });
    }
}

#[test]
fn lost_parts_are_asked_for_again_and_no_others() {
    let mut nodes = [sync(HERE), sync(THERE)];
    nodes[1].publish(at(0), &key(1), large(20_000, 0)).expect("room");
    let mut parts = 0;
    carry(&mut nodes, 0, 1_000, |body| {
        let is_part = matches!(body, Body::Part(_));
        parts += usize::from(is_part);
        is_part && parts % 4 == 1 && parts < 20
    });
    assert_eq!(value(&nodes[0], at(1_000), THERE), Some(large(20_000, 0)));
    assert_eq!(parts, 20 + 5, "20 parts, of which 5 were lost");
}

#[test]
fn a_part_of_something_else_is_counted_and_not_shown() {
    let mut nodes = [sync(HERE), sync(THERE)];
    nodes[1].publish(at(0), &key(1), large(2_000, 0)).expect("room");
    let mut hash = None;
    carry(&mut nodes, 0, 50, |body| {
        if let Body::Fetch(fetch) = body {
            hash = Some(fetch.hash);
        }
        matches!(body, Body::Part(_))
    });
    let hash = hash.expect("asked for");
    for (index, bytes, bad) in [(0, 1_040, 0), (1, 959, 1), (9, 1_040, 2), (1, 960, 3)] {
        let part = Part { hash, index, bytes: Blob(large(bytes, 5)) };
        nodes[0].receive(at(50), THERE, &message(Body::Part(part))).expect("fine");
        assert_eq!(nodes[0].counters().bad_parts, bad, "part {index} of {bytes} bytes");
    }
    assert_eq!(value(&nodes[0], at(50), THERE), None);
    carry(&mut nodes, 51, 1_000, |_| false);
    assert_eq!(value(&nodes[0], at(1_000), THERE), Some(large(2_000, 0)), "asked for again");
}

#[test]
fn a_large_value_of_a_dead_node_comes_from_another() {
    let mut nodes = vec![sync(HERE), sync(THERE)];
    nodes[1].publish(at(0), &key(1), large(5_000, 0)).expect("room");
    carry(&mut nodes, 0, 100, |_| false);
    nodes.remove(1);
    let end = u64::try_from(SILENT_AFTER.as_millis()).expect("small") + 200;
    carry(&mut nodes, 100, end, |_| false);
    let late = Sync::new(
        at(end),
        acp_core_sync::Origin { node: OTHER, incarnation: 1 },
        crate::harness::EPOCH,
        4,
        acp_core_sync::Config::default(),
    );
    nodes.push(late);
    carry(&mut nodes, end, end + 3_000, |_| false);
    assert_eq!(value(&nodes[1], at(end + 3_000), THERE), Some(large(5_000, 0)));
    assert!(nodes[1].get(at(end + 3_000), THERE, &key(1)).is_some_and(|slot| slot.relayed && slot.age.as_secs() >= 7));
}

#[test]
fn nobody_is_asked_for_what_has_been_replaced() {
    let mut nodes = [sync(HERE), sync(THERE)];
    nodes[1].publish(at(0), &key(1), large(5_000, 0)).expect("room");
    carry(&mut nodes, 0, 50, |body| matches!(body, Body::Fetch(_)));
    nodes[1].publish(at(50), &key(1), b"small"[..].into()).expect("room");
    carry(&mut nodes, 50, 100, |body| matches!(body, Body::Fetch(_)));
    assert_eq!(value(&nodes[0], at(100), THERE), Some(b"small"[..].into()));
    let asked =
        sent(&run(&mut nodes[0], at(5_000))).into_iter().filter(|(_, body)| matches!(body, Body::Fetch(_))).count();
    assert_eq!(asked, 0);
}
