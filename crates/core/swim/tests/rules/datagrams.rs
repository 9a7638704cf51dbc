//! What a ring refuses, and that nothing that comes from outside harms it.

use std::collections::BTreeSet;

use acp_base::{BootInstant, Uid};
use acp_core_swim::{
    Output, Ring,
    ring::{MembersError, RefusedError},
    timing::DATAGRAM_BYTES_MAX,
};
use proptest::prelude::*;

const NOW: BootInstant = BootInstant::from_millis(5);

fn node(number: u128) -> Uid {
    Uid::from_u128(number)
}

fn ring(mine: u128) -> Ring {
    let mut ring = Ring::new(NOW, node(mine), 1, 7);
    ring.set_members(NOW, &[1, 2].map(node).into(), &mut Vec::new()).expect("two members");
    ring
}

/// What a ring sends when it is woken for the first time: a call.
fn call(from: u128) -> Vec<u8> {
    let mut out = Vec::new();
    ring(from).wake(NOW, &mut out);
    let [Output::Send { bytes, .. }] = &out[..] else { panic!("{out:?}") };
    bytes.clone()
}

#[test]
fn a_call_is_answered_once() {
    let (mut ring, mut out) = (ring(1), Vec::new());
    assert_eq!(ring.receive(NOW, node(2), &call(2), &mut out), Ok(()));
    assert!(matches!(&out[..], [Output::Send { to, .. }, Output::Up { node: up, .. }] if *to == node(2) && up == to));
    out.clear();
    assert_eq!(ring.receive(NOW, node(2), &call(2), &mut out), Ok(()));
    assert_eq!(out, [], "the second copy");
}

#[test]
fn whoever_is_no_member_is_refused() {
    let (mut ring, mut out) = (ring(1), Vec::new());
    assert_eq!(ring.receive(NOW, node(3), &call(2), &mut out), Err(RefusedError::Sender));
    let mut stranger = Ring::new(NOW, node(3), 1, 7);
    stranger.set_members(NOW, &[1, 3].map(node).into(), &mut Vec::new()).expect("two members");
    let mut sent = Vec::new();
    stranger.wake(NOW, &mut sent);
    let [Output::Send { bytes, .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(ring.receive(NOW, node(3), bytes, &mut out), Err(RefusedError::Stranger));
    let mut later = call(2);
    later[0] = 2;
    assert_eq!(ring.receive(NOW, node(2), &later, &mut out), Err(RefusedError::Format(2)));
    assert_eq!(ring.receive(NOW, node(2), &vec![1; DATAGRAM_BYTES_MAX + 1], &mut out), Err(RefusedError::TooLong));
    assert_eq!(out, []);
}

#[test]
fn a_set_has_this_node_and_not_too_many() {
    let (mut ring, mut out) = (ring(1), Vec::new());
    let many: BTreeSet<Uid> = (0..65).map(node).collect();
    assert_eq!(ring.set_members(NOW, &many, &mut out), Err(MembersError::TooMany(65)));
    assert_eq!(ring.set_members(NOW, &[2, 3].map(node).into(), &mut out), Err(MembersError::NotMine));
    assert_eq!(ring.receive(NOW, node(2), &call(2), &mut out), Ok(()), "the set from before stays");
}

proptest! {
    #[test]
    fn no_bytes_harm_a_ring(edits in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8), cut in any::<usize>(), tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = call(2);
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut % (bytes.len() + 1));
        bytes.extend(tail);
        let (mut ring, mut out) = (ring(1), Vec::new());
        let taken = ring.receive(NOW, node(2), &bytes, &mut out);
        prop_assert!(taken.is_ok() || out.is_empty());
        ring.wake(NOW, &mut out);
        let within = |output: &Output| match output {
            Output::Send { to, bytes, copies } => *to == node(2) && bytes.len() <= DATAGRAM_BYTES_MAX && (1..=3).contains(copies),
            Output::Up { node: of, .. } | Output::Suspected { node: of, .. } | Output::Down { node: of, .. } => *of == node(2),
        };
        prop_assert!(out.iter().all(within), "{:?}", out);
    }
}
