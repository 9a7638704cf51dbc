//! What other nodes say, and what this one tells them.

use std::sync::Arc;

use acp_base::{BootInstant, Code, Uid};
use acp_core_cdb::{Changes, Event, Heard, HeardValue, Key, Publication, SlotId, WatchFilter, limits};
use acp_wire_model::{Kind, object::Facet};
use serde_json::{Value, json};

use crate::{slots::report, world::World, world::uid};

const THEIRS: Uid = Uid::from_u128(0x2222);
const NOW: BootInstant = BootInstant::from_millis(5_000);

fn id(number: u128, reporter: &str) -> SlotId {
    SlotId { kind: Kind::Volume, uid: uid(number), reporter: Arc::from(reporter), facet: Facet::Meta }
}

fn heard(number: u128, data: Value) -> Heard {
    let name = Some(format!("default/v{number}"));
    let value = HeardValue { incarnation: 7, sequence: 3, name, said: NOW, data };
    Heard { origin: THEIRS, slot: id(number, "storage@n2"), value: Some(value) }
}

fn publish(world: &mut World, sequence: u64, number: u128, data: Option<Value>) {
    let reports = vec![report(Kind::Volume, uid(number), Some(&format!("default/v{number}")), Facet::Meta, data)];
    let publication = Publication { incarnation: 1, sequence, reports, replace: false };
    world.db.publish(NOW, "storage@n1", publication).expect("valid");
}

#[test]
fn what_others_say_is_seen_with_its_age_and_never_as_this_nodes() {
    let mut world = World::new();
    publish(&mut world, 1, 4, Some(json!({"size": 1})));
    assert_eq!(world.db.hear(heard(5, json!({"size": 2}))), Ok(true));
    let names = |here| {
        let (views, _) = world.db.watch_state(&WatchFilter { here: Some(here), ..WatchFilter::default() });
        let of = |view: &acp_core_cdb::View| (view.kind == Kind::Volume).then(|| view.name.to_string());
        views.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(names(false), ["default/v4", "default/v5"]);
    assert_eq!(names(true), ["default/v4"]);
    let view = world.db.get(Kind::Volume, &Key::Name("default/v5".into()), None).expect("heard");
    let slot = &view.to_object(BootInstant::from_millis(6_500)).slots[0];
    assert_eq!((slot.reporter.as_str(), slot.age_ms, slot.incarnation, slot.sequence), ("storage@n2", 1_500, 7, 3));
    world.db.stood(THEIRS, "storage@n2", BootInstant::from_millis(6_000));
    let view = world.db.get(Kind::Volume, &Key::Name("default/v5".into()), None).expect("heard");
    assert_eq!(view.slots[0].stood, BootInstant::from_millis(6_000));
}

#[test]
fn a_reporter_that_stands_by_thousands_of_states_writes_none_of_them() {
    let mut world = World::new();
    for number in 0..5_000 {
        assert_eq!(world.db.hear(heard(1_000 + number, json!({"size": number}))), Ok(true));
        publish(&mut world, u64::try_from(number + 1).expect("small"), 10_000 + number, Some(json!({"size": 1})));
    }
    let seen =
        |world: &World| world.db.list(&[Kind::Volume]).into_iter().flat_map(|view| view.slots).collect::<Vec<_>>();
    let before = seen(&world);
    let at = BootInstant::from_millis(9_000);
    world.db.stood(THEIRS, "storage@n2", at);
    world.db.stood(THEIRS, "storage@n2", BootInstant::from_millis(8_000));
    let heartbeat = Publication { incarnation: 1, sequence: 6_000, ..Publication::default() };
    world.db.publish(at, "storage@n1", heartbeat).expect("valid");
    let after = seen(&world);
    assert_eq!((before.len(), after.len()), (10_000, 10_000));
    assert!(after.iter().all(|slot| slot.stood == at), "all of them are as young as that");
    let written = before.iter().zip(&after).filter(|(before, after)| !Arc::ptr_eq(&before.slot, &after.slot)).count();
    assert_eq!(written, 0);
    // What is said later counts from then on, and what another node says of its reporter changes nothing.
    world.db.stood(Uid::from_u128(3), "storage@n2", BootInstant::from_millis(10_000));
    let mut later = heard(1_000, json!({"size": 9}));
    later.value.as_mut().expect("one").said = BootInstant::from_millis(9_500);
    assert_eq!(world.db.hear(later), Ok(true));
    let view = world.db.get(Kind::Volume, &Key::Uid(uid(1_000)), None).expect("heard");
    assert_eq!(view.slots[0].stood, BootInstant::from_millis(9_500));
    let view = world.db.get(Kind::Volume, &Key::Uid(uid(1_001)), None).expect("heard");
    assert_eq!(view.slots[0].stood, at);
}

#[test]
fn an_object_of_this_node_is_found_first_by_its_name_and_another_ones_by_node() {
    let mut world = World::new();
    publish(&mut world, 1, 4, Some(json!({"size": 1})));
    let mut theirs = heard(9, json!({"size": 2}));
    theirs.value.as_mut().expect("one").name = Some("default/v4".to_owned());
    assert_eq!(world.db.hear(theirs), Ok(true));
    let found = |key: &Key| world.db.get(Kind::Volume, key, None).map(|view| view.uid);
    assert_eq!(found(&Key::Name("default/v4".into())), Ok(uid(4)));
    assert_eq!(found(&Key::OnNode("n2".parse().expect("a name"), "default/v4".into())), Ok(uid(9)));
    assert!(found(&Key::OnNode("n3".parse().expect("a name"), "default/v4".into())).is_err());
}

#[test]
fn nobody_elsewhere_speaks_for_a_reporter_of_this_node_or_of_a_third_one_and_renames_nothing_here() {
    let mut world = World::new();
    publish(&mut world, 1, 4, Some(json!({"size": 1})));
    assert_eq!(world.db.hear(heard(5, json!({}))), Ok(true));
    for (origin, reporter) in [(THEIRS, "storage@n1"), (Uid::from_u128(3), "storage@n2")] {
        let forged = Heard { origin, slot: id(4, reporter), ..heard(4, json!({"size": 9})) };
        assert_eq!(world.db.hear(forged).expect_err("not theirs").code, Code::FailedPrecondition);
        let gone = Heard { origin, slot: id(4, reporter), value: None };
        assert_eq!(world.db.hear(gone).expect_err("not theirs").code, Code::FailedPrecondition);
    }
    let mut renamed = heard(4, json!({"size": 9}));
    renamed.value.as_mut().expect("one").name = Some("default/other".to_owned());
    assert_eq!(world.db.hear(renamed), Ok(true), "they may speak of it");
    let view = world.db.get(Kind::Volume, &Key::Uid(uid(4)), None).expect("there").here().expect("own");
    assert_eq!((&*view.name, view.slots.len(), view.slots[0].data.text()), ("default/v4", 1, r#"{"size":1}"#));
}

#[test]
fn garbage_and_floods_of_others_change_nothing_and_take_no_room_of_this_node() {
    let mut world = World::new();
    let refused = [
        heard(5, json!([1])),
        heard(5, json!({"text": "x".repeat(limits::SLOT_BYTES_MAX)})),
        heard(5, (0..40).fold(json!({}), |inner, _| json!({"a": inner}))),
        Heard {
            value: heard(5, json!({})).value.map(|value| HeardValue { name: None, ..value }),
            ..heard(5, json!({}))
        },
    ];
    for heard in refused {
        world.db.hear(heard).expect_err("malformed");
    }
    assert!(world.db.slots().is_empty());
    let unknown = Heard { slot: SlotId { kind: Kind::System, ..id(77, "hypervisor@n2") }, ..heard(77, json!({})) };
    assert_eq!(world.db.hear(unknown), Ok(false), "its object may come yet");
    let large = json!({"text": "x".repeat(limits::SLOT_BYTES_MAX - 100)});
    let taken = (0..2_000).filter(|number| world.db.hear(heard(1_000 + number, large.clone())).is_ok()).count();
    assert!((900..1_100).contains(&taken), "{taken} fit into {} bytes", limits::SLOTS_BYTES_MAX);
    let again = world.db.hear(heard(1_000, json!({"text": "y".repeat(limits::SLOT_BYTES_MAX - 100)})));
    assert_eq!(again, Ok(true), "a newer value takes the place of the one before, also where there is no more room");
    publish(&mut world, 1, 4, Some(large));
    assert!(world.db.get(Kind::Volume, &Key::Name("default/v4".into()), None).is_ok());
    for number in 0..2_000 {
        world.db.hear(Heard { value: None, ..heard(1_000 + number, json!({})) }).expect("taken back");
    }
    assert_eq!(world.db.slots().len(), 1);
    assert_eq!(world.db.hear(heard(5, json!({}))), Ok(true), "there is room again");
}

#[test]
fn what_is_said_here_is_taken_once_and_leads_to_the_same() {
    let mut world = World::new();
    world.db.take_said();
    assert!(!world.db.has_said());
    for number in 1..=3 {
        publish(&mut world, u64::try_from(number).expect("small"), 80 + number, Some(json!({"size": 1})));
    }
    publish(&mut world, 4, 82, Some(json!({"size": 2})));
    publish(&mut world, 5, 83, None);
    world.db.hear(heard(9, json!({}))).expect("valid");
    let said = world.db.take_said();
    let shown: Vec<_> = said
        .slots
        .iter()
        .map(|(id, now)| (id.uid, now.as_ref().map(|(name, slot)| (name.as_deref(), slot.data.text()))))
        .collect();
    let expected = [
        (uid(81), Some((Some("default/v81"), r#"{"size":1}"#))),
        (uid(82), Some((Some("default/v82"), r#"{"size":2}"#))),
        (uid(83), None),
    ];
    assert_eq!(shown, expected, "each once, as it is now, and nothing that was heard");
    assert!(!said.is_whole && !said.is_more && !world.db.has_said());
    world
        .db
        .publish(NOW, "storage@n1", Publication { incarnation: 1, sequence: 6, ..Publication::default() })
        .expect("valid");
    assert_eq!(world.db.take_said().confirmed, [Arc::from("storage@n1")]);
}

#[test]
fn a_watch_of_this_node_alone_hears_nothing_of_others() {
    let mut world = World::new();
    let (here, all) = (WatchFilter::default(), WatchFilter { here: Some(false), ..WatchFilter::default() });
    let position = world.db.position();
    world.db.hear(heard(5, json!({"size": 2}))).expect("valid");
    publish(&mut world, 1, 4, Some(json!({"size": 1})));
    let events = |filter: &WatchFilter| match world.db.changes(position, filter) {
        Changes::Next { events, .. } => events
            .iter()
            .map(|event| match event {
                Event::Put(view) => view.name.to_string(),
                Event::Delete(view) => format!("-{}", view.name),
            })
            .collect::<Vec<_>>(),
        Changes::Lost => panic!("lost"),
    };
    assert_eq!(events(&here), ["default/v4"]);
    assert_eq!(events(&all), ["default/v5", "default/v4"]);
}
