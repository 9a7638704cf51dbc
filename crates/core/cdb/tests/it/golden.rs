//! What earlier versions wrote is still read: bytes of each released layout, never written again.

use acp_core_cdb::{Database, Outcome, State};
use acp_wire_model::{Kind, entry::Action};
use serde_json::json;

use crate::world::{World, guest, name, uid};

/// A log of the time before clusters: entries with their length, two bytes, before each.
const LOG_1: &[u8] = include_bytes!("../golden/log-1");

/// A snapshot of its first entries, as it was written then.
const SNAPSHOT_1: &[u8] = include_bytes!("../golden/snapshot-1");

/// A snapshot of a cluster of two, with a lease, a request and an epoch of its own.
const SNAPSHOT_2: &[u8] = include_bytes!("../golden/snapshot-2");

fn entries(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut entries = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (entry, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
        entries.push(entry);
        bytes = rest;
    }
    entries
}

#[test]
fn a_log_and_a_snapshot_of_before_come_to_the_same() {
    let restored = State::restore(SNAPSHOT_1).expect("it is still read");
    let log = entries(LOG_1);
    let (mut db, mut goes_on) = (Database::default(), restored.clone());
    let (first, rest) = log.split_at(usize::try_from(restored.index()).expect("small"));
    for entry in first {
        assert!(matches!(db.apply(entry), Outcome::Done(_)));
    }
    assert_eq!(&restored, db.state());
    for entry in rest {
        assert!(!matches!(db.apply(entry), Outcome::Stalled(_)));
        goes_on.apply(entry);
    }
    assert_eq!(&goes_on, db.state());
    assert_eq!((restored.verify(), restored.len(), restored.index()), (Ok(()), 5, 6));
    let lan = restored.find(Kind::Network, Some(&name("n1")), "lan").expect("on the first node");
    assert_eq!(lan.value["node"], json!("n1"));
    let system = restored.find(Kind::System, None, "web").expect("there");
    assert_eq!(system.value["nics"][0]["address"], json!("10.0.0.9"));
}

#[test]
fn a_snapshot_of_layout_2_is_read() {
    let restored = State::restore(SNAPSHOT_2).expect("it is read");
    assert_eq!(restored.verify(), Ok(()));
    assert_eq!(restored.members().members().len(), 2);
    assert_eq!(restored.members().waiting(0).len(), 1);
    assert_eq!((restored.feature_level(), restored.epoch().expect("founded").number), (1, 2));
    let system = restored.find(Kind::System, None, "b").expect("there");
    assert_eq!(restored.lease(system.uid).and_then(|lease| lease.holder), Some(uid(2)));
    assert_eq!(restored.image().expect("founded").encode(), SNAPSHOT_2, "it is still written so");
    let mut world = World::new();
    world.db = Database::new(restored);
    let create = Action::Create { kind: Kind::System, name: name("c"), uid: uid(0x999), spec: guest("n2", "c") };
    assert!(matches!(world.order(create), Outcome::Done(_)), "it goes on");
}
