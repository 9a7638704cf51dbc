//! Taking entries back.

use acp_base::Code;
use acp_core_cdb::{Outcome, State, decode};
use acp_wire_model::{Kind, entry::Action};
use serde_json::json;

use crate::world::{World, guest, init, uid};

/// What takes the entry of this index back.
fn undo(world: &World, index: u64) -> Result<Action, acp_core_cdb::Refusal> {
    let at = usize::try_from(index - 1).expect("small");
    let mut before = State::default();
    world.log[..at].iter().for_each(|bytes| drop(before.apply(bytes)));
    let entry = decode(&world.log[at], index).expect("it was ordered");
    world.state().undo(&entry, &before)
}

fn undone(world: &mut World, index: u64) {
    let action = undo(world, index).expect("nothing was changed since");
    let outcome = world.order(action);
    assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
}

#[test]
fn a_change_is_taken_back_field_by_field() {
    let mut world = World::of_two();
    let a = world.create(Kind::System, "a", guest("n1", "a")).expect("free").record;
    world.update(Kind::System, a.uid, json!({"cpus": 4, "autostart": true, "newer": {"x": 1, "y": 2}})).expect("valid");
    let (first, between) = (world.state().index(), json!({"memory_bytes": 128 << 20, "newer": {"y": 3}}));
    world.update(Kind::System, a.uid, between).expect("valid");
    let second = world.state().index();
    let refusal = undo(&world, first).expect_err("one of its fields was changed since");
    assert_eq!(refusal.code, Code::Conflict);
    assert!(
        refusal.message.contains("spec.newer of system \"a\"") || refusal.message.contains("spec.newer.y"),
        "{refusal}"
    );
    undone(&mut world, second);
    undone(&mut world, first);
    assert_eq!(world.spec_of(Kind::System, "a"), serde_json::Value::clone(&a.value), "as it was made");
    assert_eq!(undo(&world, first).expect_err("taken back already").code, Code::Conflict);
}

#[test]
fn a_later_change_of_other_fields_stays() {
    let mut world = World::of_two();
    let a = world.create(Kind::System, "a", guest("n1", "a")).expect("free").record.uid;
    world.update(Kind::System, a, json!({"cpus": 4})).expect("valid");
    let index = world.state().index();
    world.update(Kind::System, a, json!({"autostart": true})).expect("valid");
    undone(&mut world, index);
    let spec = world.spec_of(Kind::System, "a");
    assert_eq!((&spec["cpus"], &spec["autostart"]), (&json!(1), &json!(true)));
}

#[test]
fn what_was_made_ends_unless_it_was_changed() {
    let mut world = World::of_two();
    let a = world.create(Kind::System, "a", guest("n1", "a")).expect("free").record.uid;
    let made = world.state().index();
    assert_eq!(undo(&world, made), Ok(Action::Delete { kind: Kind::System, uid: a }));
    world.update(Kind::System, a, json!({"cpus": 2})).expect("valid");
    assert_eq!(undo(&world, made).expect_err("changed since").code, Code::Conflict);
    world.delete(Kind::System, a).expect("unused");
    assert_eq!(undo(&world, made).expect_err("ended").code, Code::NotFound);
    let refusal = undo(&world, world.state().index()).expect_err("identities do not come back");
    assert!(refusal.code == Code::FailedPrecondition && refusal.message.contains("declare a new one"), "{refusal}");
}

#[test]
fn what_changed_nothing_has_no_opposite() {
    let mut world = World::of_two();
    let a = world.create(Kind::System, "a", guest("n1", "a")).expect("free").record.uid;
    world.update(Kind::System, a, json!({"cpus": 0})).expect_err("out of range");
    assert_eq!(undo(&world, world.state().index()).expect_err("refused").code, Code::FailedPrecondition);
    world.create(Kind::System, "a", guest("n1", "b")).expect_err("taken");
    assert_eq!(undo(&world, world.state().index()).expect_err("refused").code, Code::NotFound);
    world.command(init()).expect("again");
    assert_eq!(undo(&world, world.state().index()).expect_err("no object").code, Code::FailedPrecondition);
    assert_eq!(undo(&world, 1).expect_err("the genesis").code, Code::FailedPrecondition);
    assert!(world.state().get(uid(1)).is_some());
}
