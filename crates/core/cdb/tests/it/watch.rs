//! State, then changes, without gap: against a model of a watcher.

use std::collections::BTreeMap;

use acp_base::{BootInstant, EpochId, Uid};
use acp_core_cdb::{Changes, Cursor, Database, Event, Publication, View, WatchFilter};
use acp_wire_model::{Kind, object::Facet};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    slots::report,
    world::{EPOCH, World, plain_system, uid},
};

/// What a watcher knows if it believes every event.
#[derive(Debug, Default)]
struct Watcher {
    filter: WatchFilter,
    known: BTreeMap<Uid, View>,
    position: u64,
}

impl Watcher {
    fn start(filter: WatchFilter, db: &Database) -> Self {
        let (views, position) = db.watch_state(&filter);
        Self { filter, known: views.into_iter().map(|view| (view.uid, view)).collect(), position }
    }

    /// Reads one batch; answers whether there may be more.
    fn read(&mut self, db: &Database) -> bool {
        match db.changes(self.position, &self.filter) {
            Changes::Lost => *self = Self::start(self.filter.clone(), db),
            Changes::Next { events, position } => {
                assert!(position >= self.position);
                for event in events {
                    match event {
                        Event::Put(view) => drop(self.known.insert(view.uid, view)),
                        Event::Delete(view) => drop(self.known.remove(&view.uid)),
                    }
                }
                self.position = position;
            }
        }
        self.position < db.position()
    }
}

fn truth(filter: &WatchFilter, db: &Database) -> BTreeMap<Uid, View> {
    db.watch_state(filter).0.into_iter().map(|view| (view.uid, view)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    Update(u8, u8),
    Delete(u8),
    Report { object: u8, facet: Facet, value: Option<u8>, replace: bool },
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let facet = prop_oneof![Just(Facet::Meta), Just(Facet::Stats)];
    prop_oneof![
        (0..6_u8).prop_map(Step::Create),
        (0..6_u8, 1..9_u8).prop_map(|(object, cpus)| Step::Update(object, cpus)),
        (0..6_u8).prop_map(Step::Delete),
        (0..12_u8, facet, proptest::option::of(0..3_u8), prop::bool::weighted(0.1))
            .prop_map(|(object, facet, value, replace)| Step::Report { object, facet, value, replace }),
        Just(Step::Read),
    ]
}

/// Objects 0-5 are systems by name, 6-11 are volumes by uid.
fn perform(world: &mut World, sequence: u64, step: &Step) {
    let system = |world: &World, object: u8| {
        world.db.state().find(Kind::System, None, &format!("s{object}")).map(|record| record.uid)
    };
    match step {
        Step::Create(object) => drop(world.create(Kind::System, &format!("s{object}"), plain_system())),
        Step::Update(object, cpus) => {
            if let Some(uid) = system(world, *object) {
                drop(world.update(Kind::System, uid, json!({"cpus": cpus})));
            }
        }
        Step::Delete(object) => {
            if let Some(uid) = system(world, *object) {
                drop(world.delete(Kind::System, uid));
            }
        }
        Step::Report { object, facet, value, replace } => {
            let data = value.map(|value| json!({"value": value}));
            let report = match object {
                0..6 => report(Kind::System, system(world, *object).unwrap_or(uid(77)), None, *facet, data),
                _ => report(Kind::Volume, uid(u128::from(*object)), Some(&format!("v{object}")), *facet, data),
            };
            let publication = Publication { incarnation: 1, sequence, reports: vec![report], replace: *replace };
            drop(world.db.publish(BootInstant::from_millis(sequence), "r@n1", publication));
        }
        Step::Read => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a watcher's reads fall between the changes, and however little the journal remembers, in the end it knows
    /// what is.
    #[test]
    fn state_and_changes_are_the_final_state(
        steps in prop::collection::vec(step(), 1..60),
        remembers in 1..40_usize,
        kinds in prop_oneof![Just(vec![]), Just(vec![Kind::System]), Just(vec![Kind::Volume, Kind::Node])],
        without_stats in any::<bool>(),
    ) {
        let mut world = World::new();
        world.db = world.db.clone().with_journal(remembers);
        let mut watcher = Watcher::start(WatchFilter { kinds, without_stats, here: None }, &world.db);
        for (sequence, step) in (1..).zip(&steps) {
            perform(&mut world, sequence, step);
            if matches!(step, Step::Read) {
                watcher.read(&world.db);
            }
        }
        while watcher.read(&world.db) {}
        // A slot said again with the same value is no change: its age and sequence may differ, nothing else.
        let strip = |views: BTreeMap<Uid, View>| -> Vec<_> {
            let slots = |view: &View| view.slots.iter().map(|s| (s.reporter.clone(), s.facet, s.data.text().to_owned())).collect::<Vec<_>>();
            views.into_values().map(|view| (view.uid, view.name.clone(), view.record.clone(), slots(&view))).collect()
        };
        prop_assert_eq!(strip(watcher.known), strip(truth(&watcher.filter, &world.db)));
    }
}

#[test]
fn many_changes_of_one_object_are_one_event() {
    let mut world = World::new();
    let mut watcher = Watcher::start(WatchFilter::default(), &world.db);
    let system = world.create(Kind::System, "a", plain_system()).expect("free").record.uid;
    for cpus in 2..10 {
        world.update(Kind::System, system, json!({"cpus": cpus})).expect("valid");
    }
    let Changes::Next { events, position } = world.db.changes(watcher.position, &watcher.filter) else {
        panic!("lost")
    };
    assert_eq!((events.len(), position), (1, world.db.position()));
    assert!(!watcher.read(&world.db));
    assert_eq!(watcher.known[&system].record.as_ref().expect("declared").value["cpus"], json!(9));
}

#[test]
fn batches_are_bounded_and_go_on() {
    let mut world = World::new();
    let filter = WatchFilter::default();
    let mut position = world.db.position();
    for number in 0..1_000 {
        world.create(Kind::System, &format!("s{number}"), plain_system()).expect("free");
    }
    let mut seen = 0;
    while position < world.db.position() {
        let Changes::Next { events, position: next } = world.db.changes(position, &filter) else { panic!("lost") };
        assert!(!events.is_empty() && events.len() <= acp_core_cdb::limits::BATCH_OBJECTS_MAX);
        seen += events.len();
        position = next;
    }
    assert_eq!(seen, 1_000);
}

#[test]
fn what_a_filter_leaves_out_is_passed_over_silently() {
    let mut world = World::new();
    let filter = WatchFilter { kinds: vec![Kind::Node], without_stats: true, here: None };
    let stats = report(Kind::Node, uid(1), None, Facet::Stats, Some(json!({"load": 1})));
    let publication = Publication { incarnation: 1, sequence: 1, reports: vec![stats], replace: false };
    world.db.publish(BootInstant::from_millis(1), "r@n1", publication).expect("valid");
    world.create(Kind::System, "a", plain_system()).expect("free");
    let expected = Changes::Next { events: vec![], position: world.db.position() };
    assert_eq!(world.db.changes(1, &filter), expected);
    assert!(world.db.watch_state(&filter).0[0].slots.is_empty());
}

#[test]
fn a_cursor_holds_in_its_own_life_alone() {
    let world = World::new();
    let boot = uid(50);
    let cursor = Cursor { epoch: EPOCH, index: 1, boot, number: world.db.position() };
    assert_eq!(world.db.resume(&cursor, boot), Some(cursor.number));
    assert_eq!(world.db.resume(&cursor, uid(51)), None);
    assert_eq!(world.db.resume(&Cursor { number: 99, ..cursor }, boot), None);
    let other = EpochId { number: 2, ..EPOCH };
    assert_eq!(world.db.resume(&Cursor { epoch: other, ..cursor }, boot), None);
}
