use std::collections::BTreeSet;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::*;
use crate::{GroupKey, limits::OVERHEAD_BYTES};

const IDENTITY: Identity = Identity { cluster: Uid::from_u128(1), node: Uid::from_u128(2) };

fn ring() -> KeyRing {
    KeyRing::new(GroupKey::new(1, &mut [1; 32]))
}

#[test]
fn a_full_datagram_is_as_large_as_any_may_be_and_one_byte_more_is_refused() {
    let mut sealer = Sealer::new(IDENTITY, 1, &ring()).expect("a sealer");
    let mut datagram = Vec::new();
    sealer.seal(Path::Unicast, Channel::Sync, &[7; PAYLOAD_BYTES_MAX], &mut datagram).expect("sealed");
    assert_eq!(datagram.len(), crate::limits::MTU_BYTES);
    assert!(!datagram.windows(4).any(|bytes| bytes == [7; 4]), "it can be read");
    let refused = sealer.seal(Path::Unicast, Channel::Sync, &[7; PAYLOAD_BYTES_MAX + 1], &mut datagram);
    assert!(matches!(refused, Err(SealError::Oversized { bytes }) if bytes == PAYLOAD_BYTES_MAX + 1), "{refused:?}");
    assert!(datagram.is_empty(), "nothing that could be sent by mistake");
    sealer.seal(Path::Unicast, Channel::Sync, &[], &mut datagram).expect("sealed");
    assert_eq!(datagram.len(), OVERHEAD_BYTES);
}

#[test]
fn a_counter_that_is_used_up_refuses_for_good_and_a_new_life_goes_on() {
    let (ring, mut datagram) = (ring(), Vec::new());
    let mut sealer = Sealer::new(IDENTITY, 1, &ring).expect("a sealer");
    sealer.counter = COUNTER_MAX - 1;
    sealer.seal(Path::Unicast, Channel::Sync, b"last", &mut datagram).expect("sealed");
    for _ in 0..3 {
        let refused = sealer.seal(Path::Unicast, Channel::Sync, b"more", &mut datagram);
        assert!(matches!(refused, Err(SealError::Exhausted)), "{refused:?}");
        assert!(datagram.is_empty());
        sealer.rekey(&ring).expect("the same key is taken again");
    }
    let mut sealer = Sealer::new(IDENTITY, 1, &ring).expect("a sealer");
    sealer.seal(Path::Unicast, Channel::Sync, b"more", &mut datagram).expect("sealed");
}

#[test]
fn what_is_shown_of_a_sealer_holds_no_key() {
    let shown = format!("{:?}", Sealer::new(IDENTITY, 1, &ring()).expect("a sealer"));
    assert!(shown.starts_with("Sealer { process: Process {") && shown.ends_with("key: 1, counter: 0, .. }"), "{shown}");
}

#[derive(Clone, Debug)]
enum Act {
    Seal(u8),
    Install,
    Activate,
    Retire,
    /// Takes the ring as it is.
    Rekey,
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => any::<u8>().prop_map(Act::Seal),
        1 => Just(Act::Install),
        1 => Just(Act::Activate),
        1 => Just(Act::Retire),
        2 => Just(Act::Rekey),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    /// Over rotations back and forth and restarts: which key and which nonce a datagram was sealed with is in its header, and a
    /// datagram opens only with these.
    #[test]
    fn no_two_datagrams_share_key_and_nonce(acts in proptest::collection::vec(act(), 1..120)) {
        let (mut ring, mut number, mut seen, mut datagram) = (ring(), 1, BTreeSet::new(), Vec::new());
        let mut sealer = Sealer::new(IDENTITY, 1, &ring).expect("a sealer");
        for act in acts {
            match act {
                Act::Seal(byte) => {
                    let path = if byte & 1 == 0 { Path::Unicast } else { Path::Multicast };
                    sealer.seal(path, Channel::Swim, &[byte], &mut datagram).expect("sealed");
                    let header = Header::read(&datagram, &sealer.tag, path).expect("a header");
                    // The key follows from these three; the nonce is the counter.
                    let used = (header.key, header.sender, header.life, *header.nonce().as_ref());
                    assert!(seen.insert(used), "{used:?} was used before");
                }
                Act::Install => {
                    number += 1;
                    ring.install(GroupKey::generate(number).expect("random")).expect("newer");
                }
                Act::Activate => ring.activate(),
                Act::Retire => ring.retire_previous(),
                Act::Rekey => sealer.rekey(&ring).expect("rekeyed"),
                // With the same incarnation, as a copied node would.
                Act::Restart => sealer = Sealer::new(IDENTITY, 1, &ring).expect("a sealer"),
            }
        }
    }
}
