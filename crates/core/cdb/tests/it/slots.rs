//! Who may say what, and for how long it stands.

use acp_base::{BootInstant, Code, Uid};
use acp_core_cdb::{Key, Publication, Refusal, SlotReport, limits};
use acp_wire_model::{Kind, object::Facet};
use serde_json::{Value, json};

use crate::world::{World, plain_system, uid};

const NOW: BootInstant = BootInstant::from_millis(1_000);

pub(crate) fn report(kind: Kind, uid: Uid, name: Option<&str>, facet: Facet, data: Option<Value>) -> SlotReport {
    SlotReport { kind, uid, name: name.map(str::to_owned), facet, data }
}

fn volume(number: u128, size: u64) -> SlotReport {
    report(Kind::Volume, uid(number), Some(&format!("default/v{number}")), Facet::Meta, Some(json!({"size": size})))
}

fn say(
    world: &mut World,
    who: &str,
    at: (u64, u64),
    replace: bool,
    reports: Vec<SlotReport>,
) -> Result<Vec<Uid>, Refusal> {
    let (incarnation, sequence) = at;
    world.db.publish(NOW, who, Publication { incarnation, sequence, reports, replace })
}

#[test]
fn only_a_newer_publication_counts() {
    let mut world = World::new();
    say(&mut world, "storage@n1", (5, 7), false, vec![volume(9, 1)]).expect("first");
    for older in [(5, 7), (5, 6), (4, 100)] {
        let refusal = say(&mut world, "storage@n1", older, true, vec![]).expect_err("older");
        assert_eq!(refusal.code, Code::Conflict);
    }
    assert_eq!(world.db.slots().len(), 1);
    say(&mut world, "storage@n1", (5, 8), false, vec![volume(9, 2)]).expect("newer");
    say(&mut world, "storage@n1", (6, 1), false, vec![]).expect("a new life begins anew");
    say(&mut world, "storage@n2", (1, 1), false, vec![]).expect("another reporter has its own count");
    let view = world.db.get(Kind::Volume, &Key::Name("default/v9".into()), None).expect("reported");
    assert_eq!((view.slots[0].incarnation, view.slots[0].sequence, view.slots[0].data.text()), (5, 8, r#"{"size":2}"#));
}

#[test]
fn a_heartbeat_confirms_states_of_this_life_and_no_measurements() {
    let mut world = World::new();
    let stats = report(Kind::Volume, uid(9), Some("default/v9"), Facet::Stats, Some(json!({})));
    say(&mut world, "storage@n1", (5, 1), false, vec![volume(9, 1), stats]).expect("valid");
    let later = BootInstant::from_millis(60_000);
    let ages = |world: &mut World, incarnation, sequence| {
        let heartbeat = Publication { incarnation, sequence, reports: vec![], replace: false };
        world.db.publish(later, "storage@n1", heartbeat).expect("valid");
        let view = world.db.get(Kind::Volume, &Key::Uid(uid(9)), None).expect("reported");
        view.to_object(later).slots.iter().map(|slot| (slot.facet, slot.age_ms)).collect::<Vec<_>>()
    };
    assert_eq!(ages(&mut world, 6, 1), [(Facet::Meta, 59_000), (Facet::Stats, 59_000)]);
    say(&mut world, "storage@n1", (7, 1), false, vec![volume(9, 1)]).expect("valid");
    assert_eq!(ages(&mut world, 7, 2), [(Facet::Meta, 0), (Facet::Stats, 59_000)]);
}

#[test]
fn a_reported_object_lives_as_long_as_its_slots() {
    let mut world = World::new();
    say(&mut world, "storage@n1", (1, 1), false, vec![volume(9, 1), volume(8, 1)]).expect("valid");
    let stats = report(Kind::Volume, uid(9), Some("default/v9"), Facet::Stats, Some(json!({})));
    say(&mut world, "hypervisor@n1", (1, 1), false, vec![stats]).expect("valid");
    say(&mut world, "storage@n1", (1, 2), false, vec![report(Kind::Volume, uid(9), None, Facet::Meta, None)])
        .expect("valid");
    assert_eq!(world.db.get(Kind::Volume, &Key::Uid(uid(9)), None).expect("one slot left").slots.len(), 1);
    say(&mut world, "hypervisor@n1", (2, 1), true, vec![]).expect("says nothing any more");
    assert_eq!(
        world.db.get(Kind::Volume, &Key::Uid(uid(9)), None).expect_err("gone").message,
        format!("no volume with the uid {}", uid(9))
    );
    say(&mut world, "storage@n1", (2, 1), true, vec![volume(7, 1)]).expect("the whole truth");
    let names: Vec<_> = world.db.list(&[Kind::Volume]).into_iter().map(|view| view.name.to_string()).collect();
    assert_eq!(names, ["default/v7"]);
    assert_eq!(world.db.slots().len(), 1);
}

#[test]
fn slots_of_a_declared_object_end_with_it() {
    let mut world = World::new();
    let system = world.create(Kind::System, "a", plain_system()).expect("valid").record.uid;
    let meta = report(Kind::System, system, None, Facet::Meta, Some(json!({"state": "stopped"})));
    assert_eq!(say(&mut world, "hypervisor@n1", (1, 1), false, vec![meta.clone()]), Ok(vec![]));
    world.delete(Kind::System, system).expect("unused");
    assert!(world.db.slots().is_empty());
    assert_eq!(say(&mut world, "hypervisor@n1", (1, 2), false, vec![meta]), Ok(vec![system]));
    assert!(world.db.slots().is_empty() && world.db.slots().bytes() == 0);
}

#[test]
fn a_bad_publication_is_refused_whole() {
    let mut world = World::new();
    let big = Value::String("x".repeat(limits::SLOT_BYTES_MAX));
    let bad = |kind, number, name, data| report(kind, uid(number), name, Facet::Meta, data);
    let cases = [
        (bad(Kind::Job, 3, None, Some(json!({}))), "needs a name"),
        (bad(Kind::Job, 3, Some("a\nb"), Some(json!({}))), "control characters"),
        (bad(Kind::Job, 3, Some(&"x".repeat(200)), Some(json!({}))), "name has 200 bytes"),
        (bad(Kind::Job, 3, Some("j"), Some(json!([1]))), "data is no object"),
        (bad(Kind::Job, 3, Some("j"), Some(json!({"x": big}))), "a slot holds 65536"),
        (bad(Kind::Job, 1, Some("j"), Some(json!({}))), "belongs to a declared object"),
        (bad(Kind::Job, 9, Some("j"), Some(json!({}))), "is a volume, not a job"),
    ];
    for (report, fragment) in cases {
        let refusal = say(&mut world, "storage@n1", (1, 1), false, vec![volume(9, 1), report]).expect_err(fragment);
        assert_eq!(refusal.code, Code::InvalidArgument);
        assert!(refusal.message.starts_with("reports[1]: ") && refusal.message.contains(fragment), "{refusal}");
        assert!(world.db.slots().is_empty());
    }
    let many = vec![volume(9, 1); limits::REPORTS_MAX + 1];
    say(&mut world, "storage@n1", (1, 1), false, many).expect_err("too many at once");
    say(&mut world, "storage@n1", (1, 1), false, vec![volume(9, 1)]).expect("nothing was counted");
}

#[test]
fn memory_for_slots_is_bounded() {
    let most = 1 << 20;
    let mut world = World::new();
    world.db = world.db.clone().with_slots(most);
    let full = |first: u64| -> Vec<_> {
        let data = json!({"x": "x".repeat(10_000)});
        let numbers = (first..first + 10).map(u128::from);
        numbers.map(|number| report(Kind::Job, uid(number), Some("j"), Facet::Meta, Some(data.clone()))).collect()
    };
    let mut sequence = 0;
    let refusal = loop {
        sequence += 1;
        match say(&mut world, "gone-wild@n1", (1, sequence), false, full(sequence * 1_000)) {
            Ok(_) => assert!(sequence < 100, "never refused"),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refusal.code, sequence), (Code::ResourceExhausted, 11), "10 times 100,080 bytes fit");
    assert!(refusal.message.contains("bytes of slots; it holds at most 1048576"), "{refusal}");
    assert_eq!(world.db.slots().bytes(), 10 * 10 * 10_008);
    say(&mut world, "gone-wild@n1", (2, 1), true, vec![]).expect("takes all of it back");
    assert!(world.db.slots().is_empty() && world.db.slots().bytes() == 0);
}

#[test]
fn of_two_objects_with_one_name_the_newer_is_found() {
    let mut world = World::new();
    let job = |number| report(Kind::Job, uid(number), Some("j"), Facet::Meta, Some(json!({})));
    say(&mut world, "storage@n1", (1, 1), false, vec![job(6), job(5)]).expect("valid");
    assert_eq!(world.db.get(Kind::Job, &Key::Name("j".into()), None).expect("there").uid, uid(6));
    say(&mut world, "storage@n1", (1, 2), false, vec![report(Kind::Job, uid(6), None, Facet::Meta, None)])
        .expect("valid");
    assert_eq!(world.db.get(Kind::Job, &Key::Name("j".into()), None).expect("there").uid, uid(5));
}

#[test]
fn rendered_text_reads_exactly_as_the_object() {
    let mut world = World::new();
    let system = world.create(Kind::System, "a", plain_system()).expect("valid").record.uid;
    let meta = report(
        Kind::System,
        system,
        None,
        Facet::Meta,
        Some(json!({"state": "running", "x": [1.5, null, "\u{e4}\"\n"]})),
    );
    say(&mut world, "hypervisor@n1", (1, 1), false, vec![meta, volume(9, 1)]).expect("valid");
    let later = BootInstant::from_millis(1_234);
    for view in world.db.list(&[]) {
        let object = view.to_object(later);
        let text = serde_json::to_string(&view.rendered(later)).expect("text");
        assert_eq!(text, serde_json::to_string(&object).expect("text"));
        assert!(object.slots.iter().all(|slot| slot.age_ms == 234));
    }
}

#[test]
fn a_value_that_no_reply_could_carry_is_refused() {
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({ "x": inner }));
    let mut world = World::new();
    let mut volume = |sequence, levels| {
        let data = Some(nested(levels));
        let report = report(Kind::Volume, uid(9), Some("default/v9"), Facet::Meta, data);
        say(&mut world, "storage@n1", (5, sequence), false, vec![report])
    };
    volume(1, limits::SLOT_DEPTH_MAX).map(drop).expect("as deep as may be");
    let refusal = volume(2, limits::SLOT_DEPTH_MAX + 1).expect_err("too deep");
    assert_eq!(refusal.code, Code::InvalidArgument);
    assert!(refusal.message.contains("reports[0]: data is nested too deep"), "{}", refusal.message);
}
