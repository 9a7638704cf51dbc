//! Messages: read back as written, fit, and whatever comes in is refused or keeps the rules.

use acp_base::{EpochId, Uid};
use acp_core_sync::{
    Hash, Origin, Range, Rolling, Sync,
    limits::{
        INLINE_BYTES_MAX, MTU_BYTES, NACK_RANGES_MAX, NUMBER_MAX, PART_BYTES, REPORTER_BYTES_MAX, REPORTERS_MAX,
        SUMMARY_ORIGINS_MAX,
    },
    wire::{
        Blob, Body, DecodeError, Delta, Digest, FEATURE_LEVEL, Fetch, Header, Item, Known, Message, Meta, Nack, Part,
        Said, Stand, Summary, decode, encode,
    },
};
use acp_dev_fuzz::{check, peak_bytes};
use serde::Serialize;

use crate::harness::{EPOCH, THERE, at, delta, gone, item, key, message, sync};

const MAX: Uid = Uid::from_u128(u128::MAX);
const ORIGIN: Origin = Origin { node: MAX, incarnation: NUMBER_MAX };

/// The longest of each kind.
fn longest() -> Vec<Body> {
    let reporter: std::sync::Arc<str> = "r".repeat(REPORTER_BYTES_MAX).into();
    let known = Known {
        origin: ORIGIN,
        contiguous: NUMBER_MAX,
        highest: NUMBER_MAX,
        count: NUMBER_MAX,
        hash: Some(u64::MAX),
        silent: true,
    };
    let mut key = key(1);
    (key.reporter, key.uid) = (reporter.clone(), MAX);
    let said = Said::Value(Blob(vec![0; INLINE_BYTES_MAX].into()));
    let item = Item { sequence: NUMBER_MAX, age_ms: u64::MAX, key: key.clone(), said };
    let (newest, horizon) = (NUMBER_MAX, NUMBER_MAX);
    let ranges = (0..NACK_RANGES_MAX as u64).map(|n| Range(NUMBER_MAX - 200 + 4 * n, NUMBER_MAX - 199 + 4 * n));
    let reporters = vec![Stand { reporter, age_ms: u64::MAX }; REPORTERS_MAX];
    let slots = Rolling { count: u64::MAX, hash: u64::MAX };
    vec![
        Body::Delta(Delta {
            origin: ORIGIN,
            relayed: true,
            newest,
            horizon,
            first: newest,
            last: newest,
            items: vec![item],
        }),
        Body::Digest(Digest {
            origin: ORIGIN,
            newest,
            horizon,
            slots,
            reporters: reporters.clone(),
            meta: Some(Meta { newest, slots }),
        }),
        Body::Digests(vec![Digest { origin: ORIGIN, newest, horizon, slots, reporters, meta: None }]),
        Body::Nack(Nack { origin: ORIGIN, ranges: ranges.collect() }),
        Body::Summary(Summary { joining: true, first: MAX, last: MAX, known: vec![known; SUMMARY_ORIGINS_MAX] }),
        Body::Fetch(Fetch { origin: ORIGIN, key, hash: Hash([9; 32]), parts: u64::MAX }),
        Body::Part(Part { hash: Hash([9; 32]), index: 63, bytes: Blob(vec![0; PART_BYTES].into()) }),
    ]
}

#[test]
fn the_longest_messages_fit_and_are_read_back() {
    for body in longest() {
        let header = Header { level: FEATURE_LEVEL, epoch: EpochId { number: u64::MAX, id: MAX } };
        let bytes = encode(&Message { header, body: body.clone() });
        assert!(bytes.len() <= MTU_BYTES, "{} bytes: {body:?}", bytes.len());
        assert_eq!(decode(&bytes), Ok(Message { header, body }));
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let fine = delta(1, 3, 5, vec![item(3, 1, "a"), gone(5, 2)]);
    assert!(decode(&message(Body::Delta(fine.clone()))).is_ok());
    let broken: [fn(&mut Delta); 9] = [
        |delta| delta.first = 0,
        |delta| delta.first = 6,
        |delta| delta.newest = 4,
        |delta| delta.horizon = 6,
        |delta| delta.newest = u64::MAX,
        |delta| delta.origin.incarnation = u64::MAX,
        |delta| delta.items[0].sequence = 2,
        |delta| delta.items.swap(0, 1),
        |delta| delta.items[0].said = Said::Large(Hash([0; 32]), u32::MAX),
    ];
    for breaks in broken {
        let mut delta = fine.clone();
        breaks(&mut delta);
        let read = decode(&message(Body::Delta(delta.clone())));
        assert!(matches!(read, Err(DecodeError::Impossible(_))), "{delta:?}: {read:?}");
    }
    let nack = |ranges| message(Body::Nack(Nack { origin: ORIGIN, ranges }));
    for ranges in [vec![Range(0, 1)], vec![Range(3, 2)], vec![Range(5, 6), Range(6, 7)], vec![Range(1, u64::MAX)]] {
        assert!(matches!(decode(&nack(ranges.clone())), Err(DecodeError::Impossible(_))), "{ranges:?}");
    }
    assert_eq!(decode(&[0; 9_001]), Err(DecodeError::TooLong(9_001)));
}

/// A message of a version to come.
#[derive(Serialize)]
struct Newer<T> {
    h: NewerHeader,
    b: T,
    z: &'static str,
}

#[derive(Serialize)]
struct NewerHeader {
    l: u16,
    e: (u64, Uid),
    y: [u8; 3],
}

fn newer<T: Serialize>(level: u16, body: T) -> Vec<u8> {
    let header = NewerHeader { l: level, e: (EPOCH.number, EPOCH.id), y: [1; 3] };
    rmp_serde::to_vec_named(&Newer { h: header, b: body, z: "new" }).expect("plain")
}

#[test]
fn new_fields_are_passed_over_and_a_new_level_is_refused_as_such() {
    let body = Body::Delta(delta(1, 1, 1, vec![item(1, 1, "a")]));
    assert_eq!(decode(&newer(FEATURE_LEVEL, &body)).map(|message| message.body), Ok(body.clone()));
    assert_eq!(decode(&newer(FEATURE_LEVEL + 1, &body)), Err(DecodeError::Level(FEATURE_LEVEL + 1)));
    let unknown = std::collections::BTreeMap::from([("q", 1)]);
    assert_eq!(decode(&newer(FEATURE_LEVEL + 1, &unknown)), Err(DecodeError::Level(FEATURE_LEVEL + 1)));
    assert!(matches!(decode(&newer(FEATURE_LEVEL, &unknown)), Err(DecodeError::Unreadable(_))));
}

#[test]
fn a_list_that_claims_to_be_long_takes_no_memory() {
    // A NACK whose list of ranges says that it has 2^32 - 1 of them.
    let mut bytes = message(Body::Nack(Nack { origin: Origin { node: THERE, incarnation: 1 }, ranges: Vec::new() }));
    assert_eq!(bytes.pop(), Some(0x90));
    bytes.extend([0xdd, 0xff, 0xff, 0xff, 0xff, 0x92, 1, 1]);
    let (read, peak) = peak_bytes(|| decode(&bytes));
    assert!(matches!(read, Err(DecodeError::Unreadable(_))), "{read:?}");
    assert!(peak < 4_096, "{peak} bytes");
}

#[test]
fn whatever_comes_in_is_bounded_and_breaks_nothing() {
    check(env!("CARGO_MANIFEST_DIR"), "message", |bytes| {
        let (read, peak) = peak_bytes(|| decode(bytes));
        assert!(peak <= 4_096 + 12 * bytes.len(), "{peak} bytes of memory for {}", bytes.len());
        if let Ok(message) = read {
            assert_eq!(decode(&encode(&message)), Ok(message), "written and read again");
        }
        let mut node: Sync = sync(Uid::from_u128(1));
        // The same twice, then a beat: nothing panics, and what is asked for later is asked for without end nowhere.
        for now in [at(1), at(2)] {
            let _either = node.receive(now, THERE, bytes).is_ok();
        }
        let woken = (0..200).take_while(|_| {
            let next = node.next_deadline();
            node.wake(next.max(at(3)));
            next < at(10_000)
        });
        assert!(woken.count() < 200, "woken again and again");
    });
}

/// Writes the corpus anew; run by hand when the format changes: `ACP_SYNC_CORPUS=1`.
#[test]
fn the_corpus_is_what_is_sent_today() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/message");
    let writes = std::env::var_os("ACP_SYNC_CORPUS").is_some();
    let names = ["delta", "digest", "nack", "summary", "fetch", "part", "digest-with-state", "digests"];
    for (name, body) in names.into_iter().zip(samples()) {
        let (path, bytes) = (folder.join(name), message(body));
        if writes {
            std::fs::write(&path, &bytes).expect("the corpus can be written");
        }
        let kept = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(bytes, kept, "the format of a {name} has changed: a feature level?");
    }
}

/// One of each kind, small.
fn samples() -> Vec<Body> {
    let origin = Origin { node: THERE, incarnation: 1_795_296_892_345 };
    let large = Item { said: Said::Large(Hash([7; 32]), 5_000), ..item(6, 3, "") };
    let mut sample = delta(origin.incarnation, 3, 6, vec![item(3, 1, "{\"state\":\"running\"}"), gone(5, 2), large]);
    sample.horizon = 2;
    let stand = |name: &str| Stand { reporter: name.into(), age_ms: 1_200 };
    let known = Known { origin, contiguous: 3, highest: 9, count: 5, hash: Some(0x0fed_cba9_8765_4321), silent: true };
    let slots = Rolling { count: 2, hash: 0x1234_5678_9abc_def0 };
    let reporters = vec![stand("hypervisor"), stand("network")];
    let with_state = Digest { origin, newest: 6, horizon: 2, slots, reporters, meta: Some(Meta { newest: 5, slots }) };
    let relayed = with_state.abroad().expect("it says where its state stands");
    vec![
        Body::Delta(sample),
        Body::Digest(Digest { meta: None, ..with_state.clone() }),
        Body::Nack(Nack { origin, ranges: vec![Range(1, 2), Range(4, 4)] }),
        Body::Summary(Summary { joining: false, first: Uid::from_u128(0), last: MAX, known: vec![known] }),
        Body::Fetch(Fetch { origin, key: key(3), hash: Hash([7; 32]), parts: 0b11111 }),
        Body::Part(Part { hash: Hash([7; 32]), index: 4, bytes: Blob(vec![5; 40].into()) }),
        Body::Digest(with_state),
        Body::Digests(vec![relayed]),
    ]
}
