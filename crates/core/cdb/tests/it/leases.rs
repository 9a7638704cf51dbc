//! The right to run a system, the epoch and the level.

use acp_base::{Code, EpochId};
use acp_core_cdb::{LeaseRecord, Outcome, Stall};
use acp_wire_model::{
    Kind,
    entry::{Action, FEATURE_LEVEL, LeaseAct},
};
use serde_json::json;

use crate::world::{EPOCH, World, decided, entry_of, guest, plain_system, uid};

fn floating(world: &mut World, name: &str, node: &str) -> acp_base::Uid {
    let mut spec = guest(node, name);
    spec["floating"] = json!(true);
    world.create(Kind::System, name, spec).expect("free").record.uid
}

fn act(world: &mut World, system: acp_base::Uid, act: LeaseAct) -> Result<(), Code> {
    let done = decided(world.order(Action::Lease { system, act }));
    done.map(|done| assert_eq!(done.changes, [])).map_err(|refusal| refusal.code)
}

#[test]
fn one_node_at_a_time_may_run_a_floating_system_and_terms_grow() {
    let mut world = World::of_two();
    let (a, b) = (floating(&mut world, "a", "n1"), floating(&mut world, "b", "n2"));
    let grant = |node| LeaseAct::Grant { node: uid(node) };
    assert_eq!(world.state().lease(a), None);
    assert_eq!(act(&mut world, a, grant(1)), Ok(()));
    let held = LeaseRecord { holder: Some(uid(1)), term: 1, index: world.state().index() };
    assert_eq!(world.state().lease(a), Some(held));
    assert_eq!(act(&mut world, b, grant(2)), Ok(()));
    assert_eq!(world.state().lease(b).map(|lease| lease.term), Some(2), "no term is given twice");
    assert_eq!(act(&mut world, a, grant(2)), Err(Code::FailedPrecondition), "it is not on that node");
    assert_eq!(act(&mut world, a, grant(1)), Ok(()), "its holder may ask again");
    let term = world.state().lease(a).expect("held").term;
    assert_eq!(term, 3);
    // Only who has it, with the term it has, gives it back.
    for (node, term) in [(1, 1), (2, term), (1, term + 1)] {
        let node = uid(node);
        assert_eq!(act(&mut world, a, LeaseAct::Release { node, term }), Err(Code::Conflict));
        assert_eq!(act(&mut world, a, LeaseAct::Revoke { node, term }), Err(Code::Conflict));
    }
    assert_eq!(act(&mut world, a, LeaseAct::Release { node: uid(1), term }), Ok(()));
    assert_eq!(act(&mut world, a, LeaseAct::Release { node: uid(1), term }), Err(Code::Conflict), "once");
    let given_back = LeaseRecord { holder: None, term, index: world.state().index() - 1 };
    assert_eq!(world.state().lease(a), Some(given_back));
    assert_eq!(act(&mut world, b, LeaseAct::Revoke { node: uid(2), term: 2 }), Ok(()));
    world.delete(Kind::System, a).expect("unused");
    assert_eq!(world.state().lease(a), None, "it ends with its system");
    assert_eq!(world.state().verify(), Ok(()));
}

#[test]
fn what_cannot_be_leased_is_refused() {
    let mut world = World::of_two();
    let pinned = world.create(Kind::System, "p", plain_system()).expect("free").record.uid;
    let a = floating(&mut world, "a", "n1");
    let pool = world.state().find(Kind::Pool, Some(&"n1".parse().expect("a name")), "default").expect("there").uid;
    for (system, node, code) in [
        (pinned, 1, Code::FailedPrecondition),
        (uid(0x999), 1, Code::NotFound),
        (pool, 1, Code::NotFound),
        (a, 0x999, Code::NotFound),
        (a, 0x101, Code::NotFound),
    ] {
        assert_eq!(act(&mut world, system, LeaseAct::Grant { node: uid(node) }), Err(code), "{system} to {node}");
    }
    assert!(world.state().leases().is_empty());
}

#[test]
fn a_leased_system_stays_where_it_is_and_floating() {
    let mut world = World::of_two();
    let a = floating(&mut world, "a", "n1");
    act(&mut world, a, LeaseAct::Grant { node: uid(1) }).expect("free");
    for patch in [json!({"floating": false}), json!({"node": "n2"}), json!({"floating": null})] {
        let refusal = world.update(Kind::System, a, patch.clone()).expect_err(&patch.to_string());
        assert!(refusal.code == Code::FailedPrecondition && refusal.message.contains("stop it"), "{refusal}");
    }
    world.update(Kind::System, a, json!({"cpus": 2})).expect("it does not move");
    act(&mut world, a, LeaseAct::Release { node: uid(1), term: 1 }).expect("it has it");
    world.update(Kind::System, a, json!({"node": "n2"})).expect("nobody runs it");
    act(&mut world, a, LeaseAct::Grant { node: uid(2) }).expect("free");
    // A node that goes takes its leases with it.
    world.command(acp_core_membership::Command::Leave { node: uid(2) }).expect("not the last");
    assert_eq!((world.state().lease(a), world.state().verify()), (None, Ok(())));
}

#[test]
fn an_epoch_ends_where_a_higher_one_begins() {
    let mut world = World::of_two();
    let gone = world.create(Kind::System, "gone", plain_system()).expect("free").record.uid;
    world.delete(Kind::System, gone).expect("unused");
    let (revision, horizon) = (world.state().members().revision(), |number: u64, id| Action::Horizon {
        epoch: EpochId { number, id: uid(id) },
        reason: "recover".to_owned(),
    });
    for number in [0, EPOCH.number] {
        let refusal = decided(world.order(horizon(number, 0xE2))).expect_err("not above");
        assert_eq!((refusal.code, world.state().epoch()), (Code::FailedPrecondition, Some(EPOCH)));
    }
    decided(world.order(horizon(3, 0xE2))).expect("above");
    let epoch = EpochId { number: 3, id: uid(0xE2) };
    assert_eq!(world.state().epoch(), Some(epoch));
    assert_eq!(world.state().members().revision(), revision + 1, "the directory says so");
    assert_eq!(world.state().directory().expect("there is a cluster").epoch, epoch.to_string());
    assert_eq!(world.state().tombstones().count(), 0, "what ended before it is forgotten");
    world.create(Kind::System, "later", plain_system()).expect("it goes on");
    let late = entry_of(EPOCH, world.state().index() + 1, Action::Delete { kind: Kind::System, uid: gone });
    let outcome = world.db.apply(&late);
    assert!(
        matches!(outcome, Outcome::Stalled(Stall::Epoch { expected, found, .. }) if (expected, found) == (epoch, EPOCH))
    );
}

#[test]
fn the_level_rises_to_what_this_version_knows() {
    let mut world = World::of_two();
    let level = |level| Action::FeatureLevel { level };
    assert_eq!(world.state().feature_level(), 0);
    assert_eq!(decided(world.order(level(0))).expect_err("not above").code, Code::FailedPrecondition);
    decided(world.order(level(FEATURE_LEVEL))).expect("above");
    assert_eq!(world.state().feature_level(), FEATURE_LEVEL);
    assert_eq!(decided(world.order(level(FEATURE_LEVEL))).expect_err("so already").code, Code::FailedPrecondition);
    let index = world.state().index();
    let outcome = world.order(level(FEATURE_LEVEL + 1));
    assert_eq!(outcome, Outcome::Stalled(Stall::FeatureLevel { index: index + 1, level: FEATURE_LEVEL + 1 }));
    assert_eq!(world.state().index(), index);
}
