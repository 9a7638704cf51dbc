use std::{fs, net::Ipv4Addr};

use super::*;
use crate::{GroupKey, Sealer, key::Life, limits::WINDOW_COUNTERS};

mod corpus;
mod lives;
mod rotation;

const CLUSTER: Uid = Uid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
const HERE: Uid = Uid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002);
const THERE: Uid = Uid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0003);
const FROM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7);
const NOW: BootInstant = BootInstant::from_millis(1_000);

fn key(number: u32) -> GroupKey {
    GroupKey::new(number, &mut [u8::try_from(number).expect("small"); 32])
}

fn ring(number: u32) -> KeyRing {
    KeyRing::new(key(number))
}

fn sealer_of(cluster: Uid, node: Uid, incarnation: u64) -> Sealer {
    Sealer::of_life(Identity { cluster, node }, Life::of(incarnation, 5), &ring(1)).expect("a sealer")
}

/// A peer's sealer.
fn sealer(incarnation: u64) -> Sealer {
    sealer_of(CLUSTER, THERE, incarnation)
}

fn opener() -> Opener {
    Opener::new(Identity { cluster: CLUSTER, node: HERE }, ring(1))
}

fn sealed(sealer: &mut Sealer, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    sealer.seal(Path::Multicast, Channel::Sync, payload, &mut datagram).expect("sealed");
    datagram
}

/// What opening these bytes gives, which arrived by multicast.
fn open(opener: &mut Opener, datagram: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut bytes = datagram.to_vec();
    let opened = opener.open(NOW, Arrival { bytes: &mut bytes, from: FROM, path: Path::Multicast });
    opened.map(|opened| opened.payload.to_vec())
}

/// How many datagrams were refused, by reason.
fn refused(opener: &Opener) -> Vec<(Refusal, u64)> {
    let counts = Refusal::ALL.map(|refusal| (refusal, opener.refused(refusal)));
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn what_a_member_seals_opens_once_and_says_whose_it_is_and_for_whom() {
    let (mut sealer, mut opener) = (sealer(1), opener());
    for (path, channel) in [(Path::Multicast, Channel::Swim), (Path::Unicast, Channel::SelfTest)] {
        let mut datagram = Vec::new();
        sealer.seal(path, channel, b"slots", &mut datagram).expect("sealed");
        let mut copy = datagram.clone();
        let opened = opener.open(NOW, Arrival { bytes: &mut datagram, from: FROM, path });
        assert_eq!(opened, Ok(Opened { sender: THERE, channel, path, payload: b"slots" }));
        let again = opener.open(NOW, Arrival { bytes: &mut copy, from: FROM, path });
        assert_eq!(again, Err(Refusal::Replayed));
    }
    assert_eq!(refused(&opener), [(Refusal::Replayed, 2)]);
}

/// Each reason, with the datagram that has it.
#[test]
fn everything_else_is_refused_with_its_reason_and_leaves_no_trace() {
    let mut peer = sealer(1);
    let good = sealed(&mut peer, b"slots");
    let edited = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut datagram = good.clone();
        edit(&mut datagram);
        datagram
    };
    let cases = [
        (Refusal::Truncated, Vec::new()),
        (Refusal::Truncated, good[..crate::limits::OVERHEAD_BYTES - 1].to_vec()),
        (Refusal::Oversized, edited(&|datagram| datagram.resize(crate::limits::MTU_BYTES + 1, 0))),
        (Refusal::Version, edited(&|datagram| datagram[0] = 2)),
        (Refusal::Cluster, sealed(&mut sealer_of(Uid::from_u128(9), THERE, 1), b"slots")),
        (Refusal::Channel, edited(&|datagram| datagram[53] = 0x80 | 77)),
        (Refusal::Path, edited(&|datagram| datagram[53] &= 0x7f)),
        (Refusal::Own, sealed(&mut sealer_of(CLUSTER, HERE, 1), b"slots")),
        (Refusal::NewerKey, edited(&|datagram| datagram[12] = 2)),
        (Refusal::OlderKey, edited(&|datagram| datagram[12] = 0)),
        (Refusal::Forged, edited(&|datagram| datagram[40] ^= 1)),
        (Refusal::Forged, edited(&|datagram| datagram.truncate(74))),
        (Refusal::Forged, edited(&|datagram| datagram.push(0))),
    ];
    let mut opener = opener();
    for (refusal, datagram) in &cases {
        assert_eq!(open(&mut opener, datagram), Err(*refusal), "{datagram:?}");
    }
    assert_eq!(opener.senders(), 0);
    assert_eq!(refused(&opener).iter().map(|(_, count)| count).sum::<u64>(), cases.len() as u64);
    assert_eq!(open(&mut opener, &good), Ok(b"slots".to_vec()), "the real one after all these");
}

#[test]
fn no_bit_of_a_datagram_may_change() {
    let (mut peer, mut opener) = (sealer(1), opener());
    assert!(open(&mut opener, &sealed(&mut peer, b"first")).is_ok());
    let good = sealed(&mut peer, b"second");
    for bit in 0..good.len() * 8 {
        let mut datagram = good.clone();
        datagram[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&mut opener, &datagram).is_err(), "bit {bit}");
    }
    assert_eq!(open(&mut opener, &good), Ok(b"second".to_vec()));
}

/// A sealer of another cluster that has the same uid by accident, or a stolen name, has no key.
#[test]
fn nobody_without_the_key_can_speak_for_a_member() {
    let (mut peer, mut opener) = (sealer(1), opener());
    assert!(open(&mut opener, &sealed(&mut peer, b"real")).is_ok());
    let mut stranger = Sealer::of_life(
        Identity { cluster: CLUSTER, node: THERE },
        Life::of(u64::MAX, 5),
        &KeyRing::new(GroupKey::new(1, &mut [99; 32])),
    )
    .expect("a sealer");
    for _ in 0..10 {
        assert_eq!(open(&mut opener, &sealed(&mut stranger, b"forged")), Err(Refusal::Forged));
    }
    assert!(open(&mut opener, &sealed(&mut peer, b"real")).is_ok(), "its life was not pushed out");
}

#[test]
fn reordered_within_the_window_opens_and_behind_it_is_late() {
    let (mut peer, mut opener) = (sealer(1), opener());
    let count = WINDOW_COUNTERS + 1;
    let datagrams: Vec<_> = (0..count).map(|number| sealed(&mut peer, &number.to_be_bytes())).collect();
    for (number, datagram) in datagrams.iter().enumerate().rev() {
        let expected = if number == 0 { Err(Refusal::Late) } else { Ok((number as u64).to_be_bytes().to_vec()) };
        assert_eq!(open(&mut opener, datagram), expected);
    }
}

#[test]
fn a_full_queue_of_the_group_is_not_late_beside_an_empty_one() {
    let (mut peer, mut opener) = (sealer(1), opener());
    let queued = sealed(&mut peer, b"queued");
    for _ in 0..2 * WINDOW_COUNTERS {
        let mut datagram = Vec::new();
        peer.seal(Path::Unicast, Channel::Swim, b"at once", &mut datagram).expect("sealed");
        let opened = opener.open(NOW, Arrival { bytes: &mut datagram, from: FROM, path: Path::Unicast });
        assert!(opened.is_ok(), "{opened:?}");
    }
    assert_eq!(open(&mut opener, &queued), Ok(b"queued".to_vec()));
}
