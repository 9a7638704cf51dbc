//! Order, refusals, stalls, versions, snapshots.

use acp_base::{Code, EpochId, WallTime};
use acp_core_cdb::{Database, Effect, Hash, Outcome, SnapshotError, Stall, State, encode};
use acp_wire_model::{
    Kind,
    entry::{Action, Entry},
};
use serde_json::json;

use crate::world::{EPOCH, World, entry, genesis, name, plain_system, uid};

#[test]
fn names_are_unique_within_a_kind_alone() {
    let mut world = World::furnished();
    world.create(Kind::System, "x", plain_system()).expect("free");
    let refusal = world.create(Kind::System, "x", plain_system()).expect_err("taken");
    assert_eq!((refusal.code, refusal.message.as_str()), (Code::AlreadyExists, "a system named \"x\" exists already"));
    world.create(Kind::Pool, "x", json!({"driver": "directory", "node": "n1"})).expect("another kind");
}

#[test]
fn a_refused_entry_counts_and_changes_nothing() {
    let mut world = World::furnished();
    let (index, position) = (world.db.state().index(), world.db.position());
    let before = world.db.list(&[]);
    world.create(Kind::System, "x", json!({"cpus": 0})).expect_err("no node");
    assert_eq!(world.db.state().index(), index + 1);
    assert_eq!((world.db.position(), world.db.list(&[])), (position, before));
}

#[test]
fn an_identity_is_never_used_again() {
    let mut world = World::furnished();
    let done = world.create(Kind::System, "x", plain_system()).expect("free");
    world.delete(Kind::System, done.record.uid).expect("unused");
    for kind in [Kind::System, Kind::Network] {
        let spec = if kind == Kind::System { plain_system() } else { json!({"address": "10.9.0.1/24"}) };
        let again = world.order(Action::Create { kind, name: name("y"), uid: done.record.uid, spec });
        assert!(matches!(again, Outcome::Refused(refusal) if refusal.code == Code::AlreadyExists));
    }
    let refusal = world.delete(Kind::System, done.record.uid).expect_err("gone");
    assert!(refusal.code == Code::NotFound && refusal.message.contains("has been deleted"), "{refusal}");
    world.create(Kind::System, "x", plain_system()).expect("the name is free again");
}

#[test]
fn an_update_merges_and_can_be_tied_to_a_version() {
    let mut world = World::furnished();
    let mut spec = plain_system();
    spec["newer"] = json!({"kept": true});
    let created = world.create(Kind::System, "x", spec).expect("lenient").record;
    let updated = world.update(Kind::System, created.uid, json!({"cpus": 4})).expect("valid");
    assert_eq!((updated.effect, updated.record.version), (Effect::Put, world.db.state().index()));
    let stored = world.spec_of(Kind::System, "x");
    assert_eq!(
        (&stored["cpus"], &stored["newer"]["kept"], &stored["autostart"]),
        (&json!(4), &json!(true), &json!(false))
    );
    let stale =
        Action::Update { kind: Kind::System, uid: created.uid, patch: json!({}), if_version: Some(created.version) };
    assert!(matches!(world.order(stale), Outcome::Refused(refusal) if refusal.code == Code::Conflict));
    let same = world.update(Kind::System, created.uid, json!({"cpus": 4})).expect("valid");
    assert_eq!((same.effect, same.record.version), (Effect::Unchanged, updated.record.version));
    assert_eq!(world.update(Kind::System, created.uid, json!([1])).expect_err("no object").code, Code::InvalidArgument);
    assert_eq!(world.update(Kind::Pool, created.uid, json!({})).expect_err("a system").code, Code::NotFound);
    assert_eq!(world.update(Kind::Job, created.uid, json!({})).expect_err("reported").code, Code::InvalidArgument);
}

#[test]
fn what_cannot_be_judged_stalls_and_nothing_after_it_is_applied() {
    let newer = json!({"index": 2, "action": {"type": "teleport"}});
    let newer = rmp_serde_bytes(&newer);
    let other_epoch = EpochId { number: 2, ..EPOCH };
    let delete = Action::Delete { kind: Kind::Node, uid: uid(1) };
    let foreign = Entry {
        index: 2,
        epoch: other_epoch,
        time: WallTime(0),
        actor: String::new(),
        request: String::new(),
        action: delete.clone(),
    };
    let cases = [
        (newer, Stall::UnknownKind { index: 2, kind: "teleport".into() }),
        (entry(5, delete.clone()), Stall::Gap { expected: 2, found: 5 }),
        (encode(&foreign), Stall::Epoch { index: 2, expected: EPOCH, found: other_epoch }),
    ];
    for (bytes, expected) in cases {
        let mut db = World::new().db;
        let before = (db.state().index(), db.state().hash());
        assert_eq!(db.apply(&bytes), Outcome::Stalled(expected.clone()));
        assert_eq!(db.apply(&entry(2, delete.clone())), Outcome::Stalled(expected));
        assert_eq!((db.state().index(), db.state().hash()), before);
        assert_eq!(db.list(&[]).len(), 1, "objects stay");
    }
    let mut empty = Database::default();
    assert_eq!(empty.apply(&entry(1, delete)), Outcome::Stalled(Stall::NoGenesis));
    let mut garbage = Database::default();
    assert!(matches!(garbage.apply(b"\xff\xff"), Outcome::Stalled(Stall::Unreadable { index: 1, .. })));
}

/// MessagePack of a JSON object, by hand: the test crate has no encoder of its own for foreign entries.
fn rmp_serde_bytes(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("plain")
}

#[test]
fn the_hash_chains_every_entry_also_refused_ones() {
    let mut world = World::furnished();
    world.create(Kind::System, "x", json!({})).expect_err("incomplete");
    let expected = world.log.iter().fold(Hash::ZERO, |hash, bytes| hash.link(bytes));
    assert_eq!(world.db.state().hash(), expected);
    assert!(matches!(world.order(genesis()), Outcome::Refused(_)), "founded once");
}

#[test]
fn a_snapshot_with_the_rest_of_the_log_is_the_whole_log() {
    let mut world = World::furnished();
    world.create(Kind::System, "gone", plain_system()).expect("free");
    world.delete(Kind::System, world.uid_of(Kind::System, "gone")).expect("unused");
    let image = world.db.state().image().expect("founded");
    let (index, bytes) = (image.index(), image.encode());
    world.create(Kind::System, "x", plain_system()).expect("free");
    let mut restored = State::restore(&bytes).expect("own snapshot");
    assert_eq!(restored.index(), index);
    for entry in &world.log[usize::try_from(index).expect("small")..] {
        restored.apply(entry);
    }
    assert_eq!(&restored, world.db.state());
    assert_eq!(State::restore(&bytes).expect("own snapshot").image().expect("founded").encode(), bytes);
}

#[test]
fn a_snapshot_that_does_not_read_is_refused() {
    assert!(State::default().image().is_none());
    assert!(matches!(State::restore(b"nonsense"), Err(SnapshotError::Unreadable(_))));
    let newer = rmp_serde_bytes(&json!({"format": 9, "anything": 1}));
    let error = State::restore(&newer).expect_err("newer");
    assert_eq!(
        error.to_string(),
        "the snapshot has layout 9, this version reads up to 2: install the newer version again"
    );
}
