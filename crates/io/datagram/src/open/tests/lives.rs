//! Which life of a sender is heard.

use super::*;
use crate::limits::SENDERS_MAX;

#[test]
fn a_recorded_earlier_life_neither_opens_nor_pushes_out_the_live_one() {
    let (mut earlier, mut live, mut opener) = (sealer(7), sealer(8), opener());
    let recorded: Vec<_> = (0..3).map(|_| sealed(&mut earlier, b"old")).collect();
    assert!(open(&mut opener, &recorded[0]).is_ok(), "it was the live one then");
    let first = sealed(&mut live, b"new");
    assert!(open(&mut opener, &first).is_ok());
    for datagram in &recorded {
        assert_eq!(open(&mut opener, datagram), Err(Refusal::Superseded));
    }
    assert_eq!(open(&mut opener, &first), Err(Refusal::Replayed), "its window is as it was");
    assert!(open(&mut opener, &sealed(&mut live, b"new")).is_ok());
}

#[test]
fn of_two_copies_of_a_node_one_is_heard_and_the_other_is_counted() {
    let identity = Identity { cluster: CLUSTER, node: THERE };
    let mut copies = [3, 4].map(|random| Sealer::of_life(identity, Life::of(1, random), &ring(1)).expect("a sealer"));
    let mut opener = opener();
    let mut heard = [0, 0];
    for _ in 0..5 {
        for (copy, heard) in copies.iter_mut().zip(&mut heard) {
            *heard += u32::from(open(&mut opener, &sealed(copy, b"here")).is_ok());
        }
    }
    // Both are new at first; from then on only the greater one is.
    assert_eq!(heard, [1, 5]);
    assert_eq!(refused(&opener), [(Refusal::Superseded, 4)]);
}

#[test]
fn as_many_senders_as_the_bound_are_remembered_and_the_silent_one_goes() {
    let mut opener = opener();
    let greeting = |number: usize| sealed(&mut sealer_of(CLUSTER, Uid::from_u128(1_000 + number as u128), 1), b"hi");
    let open_at = |opener: &mut Opener, at: u64, datagram: &[u8]| {
        let arrival = Arrival { bytes: &mut datagram.to_vec(), from: FROM, path: Path::Multicast };
        opener.open(BootInstant::from_millis(at), arrival).map(drop)
    };
    for number in 0..SENDERS_MAX {
        assert_eq!(open_at(&mut opener, 10 + number as u64, &greeting(number)), Ok(()));
    }
    assert_eq!(open_at(&mut opener, 1_000_000, &greeting(SENDERS_MAX)), Ok(()));
    assert_eq!(opener.senders(), SENDERS_MAX);
    // The second is still known; the first was silent longest, and so its datagram is as new as any.
    assert_eq!(open_at(&mut opener, 1_000_001, &greeting(1)), Err(Refusal::Replayed));
    assert_eq!(open_at(&mut opener, 1_000_001, &greeting(0)), Ok(()));
}

#[test]
fn a_member_that_was_removed_is_forgotten() {
    let (mut peer, mut opener) = (sealer(1), opener());
    assert!(open(&mut opener, &sealed(&mut peer, b"here")).is_ok());
    opener.forget(THERE);
    assert_eq!(opener.senders(), 0);
}
