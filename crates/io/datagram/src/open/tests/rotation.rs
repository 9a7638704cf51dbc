//! Keys change while nodes are there, late or away.

use super::*;

/// The ring that these keys make when they are installed one after the other, each activated.
fn rotated(numbers: impl IntoIterator<Item = u32>) -> KeyRing {
    let mut numbers = numbers.into_iter();
    let mut ring = ring(numbers.next().expect("one at least"));
    for number in numbers {
        ring.install(key(number)).expect("newer");
        ring.activate();
    }
    ring
}

#[test]
fn a_peer_that_was_away_for_one_rotation_is_heard_and_for_two_is_counted() {
    let (mut peer, mut opener) = (sealer(1), opener());
    assert!(open(&mut opener, &sealed(&mut peer, b"before")).is_ok());
    opener.rekey(&rotated([1, 2]));
    assert!(open(&mut opener, &sealed(&mut peer, b"one old")).is_ok());
    opener.rekey(&rotated([1, 2, 3]));
    assert_eq!(open(&mut opener, &sealed(&mut peer, b"two old")), Err(Refusal::OlderKey));
    assert_eq!(refused(&opener), [(Refusal::OlderKey, 1)]);
    // It comes back, is given the keys, and goes on: same life, same counter.
    peer.rekey(&rotated([1, 2, 3])).expect("rekeyed");
    assert!(open(&mut opener, &sealed(&mut peer, b"here again")).is_ok());
}

#[test]
fn a_node_that_was_away_hears_that_it_has_missed_a_key() {
    let (mut peer, mut opener) = (sealer(1), opener());
    peer.rekey(&rotated([1, 2])).expect("rekeyed");
    assert_eq!(open(&mut opener, &sealed(&mut peer, b"new key")), Err(Refusal::NewerKey));
    opener.rekey(&rotated([1, 2]));
    assert!(open(&mut opener, &sealed(&mut peer, b"new key")).is_ok());
}

#[test]
fn while_a_key_is_handed_out_everybody_hears_everybody() {
    let (mut peer, mut opener) = (sealer(1), opener());
    let mut installed = ring(1);
    installed.install(key(2)).expect("newer");
    // The peer has the key first and seals with the one before; then this node has it; then each activates it.
    peer.rekey(&installed).expect("rekeyed");
    assert!(open(&mut opener, &sealed(&mut peer, b"installed there")).is_ok());
    opener.rekey(&installed);
    assert!(open(&mut opener, &sealed(&mut peer, b"installed here")).is_ok());
    installed.activate();
    peer.rekey(&installed).expect("rekeyed");
    assert!(open(&mut opener, &sealed(&mut peer, b"activated there")).is_ok());
    assert_eq!(refused(&opener), []);
}

#[test]
fn replays_stay_refused_over_a_rotation() {
    let (mut peer, mut opener) = (sealer(1), opener());
    let recorded = sealed(&mut peer, b"recorded");
    assert!(open(&mut opener, &recorded).is_ok());
    opener.rekey(&rotated([1, 2]));
    assert_eq!(open(&mut opener, &recorded), Err(Refusal::Replayed));
    peer.rekey(&rotated([1, 2])).expect("rekeyed");
    assert!(open(&mut opener, &sealed(&mut peer, b"new key")).is_ok());
    assert_eq!(open(&mut opener, &recorded), Err(Refusal::Replayed));
    opener.rekey(&rotated([1, 2, 3]));
    assert_eq!(open(&mut opener, &recorded), Err(Refusal::OlderKey));
}

/// With a stolen key, a life of a member can be invented that is newer than all it will have.
#[test]
fn a_life_that_was_invented_with_a_stolen_key_ends_with_that_key() {
    let (mut peer, mut thief, mut opener) = (sealer(1), sealer(u64::MAX), opener());
    assert!(open(&mut opener, &sealed(&mut thief, b"invented")).is_ok());
    assert_eq!(open(&mut opener, &sealed(&mut peer, b"real")), Err(Refusal::Superseded));
    let mut ring = rotated([1, 2]);
    peer.rekey(&ring).expect("rekeyed");
    opener.rekey(&ring);
    assert_eq!(open(&mut opener, &sealed(&mut peer, b"real")), Err(Refusal::Superseded));
    ring.retire_previous();
    opener.rekey(&ring);
    assert_eq!(open(&mut opener, &sealed(&mut thief, b"invented")), Err(Refusal::OlderKey));
    assert!(open(&mut opener, &sealed(&mut peer, b"real")).is_ok());
}
