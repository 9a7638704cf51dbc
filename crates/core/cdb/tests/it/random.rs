//! Random logs: never a panic, the same state for everybody, nothing held twice.

use std::collections::BTreeSet;

use acp_core_cdb::{Database, Outcome, Spec, State, decode};
use acp_wire_model::{Kind, entry::Action, system::SystemSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{EPOCH, entry, genesis, image, name, uid};

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z/.:0-9]{0,12}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        prop::sample::select(vec!["node", "cpus", "memory_bytes", "disks", "nics", "pool", "address", "mac", "path"])
            .prop_map(str::to_owned),
        "[a-z]{1,4}",
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn network_spec() -> impl Strategy<Value = Value> {
    (0..4_u8, 24..=30_u8, any::<bool>())
        .prop_map(|(net, prefix, dhcp)| json!({"address": format!("10.0.{net}.1/{prefix}"), "dhcp": dhcp}))
}

fn system_spec() -> impl Strategy<Value = Value> {
    let mac = proptest::option::of((0..4_u8).prop_map(|last| format!("52:54:00:00:00:0{last}")));
    let address = proptest::option::of((0..4_u8, 0..6_u8).prop_map(|(net, last)| format!("10.0.{net}.{last}")));
    let nic = (0..3_u8, mac, address)
        .prop_map(|(network, mac, address)| json!({"network": format!("o{network}"), "mac": mac, "address": address}));
    let disk = (0..3_u8, 0..3_u8, proptest::option::of(0..3_u8)).prop_map(|(pool, volume, image)| {
        let image = image.map(|image| format!("o{image}"));
        json!({"pool": format!("o{pool}"), "volume": format!("v{volume}"), "size_bytes": 64 << 20, "image": image})
    });
    (prop::collection::vec(nic, 0..4), prop::collection::vec(disk, 0..3), 0..3_u32)
        .prop_map(|(nics, disks, cpus)| json!({"node": "n1", "cpus": cpus, "memory_bytes": 64 << 20, "nics": nics, "disks": disks}))
}

fn spec_for(kind: Kind) -> BoxedStrategy<Value> {
    let likely = match kind {
        Kind::Network => network_spec().boxed(),
        Kind::System => system_spec().boxed(),
        Kind::Pool => Just(json!({"driver": "directory", "node": "n1"})).boxed(),
        Kind::Image => (0..3_u8).prop_map(|pool| image(&format!("o{pool}"))).boxed(),
        Kind::Node => Just(json!({})).boxed(),
        Kind::Volume | Kind::Service | Kind::Job => any_json().boxed(),
    };
    prop_oneof![9 => likely, 1 => any_json()].boxed()
}

fn action() -> impl Strategy<Value = Action> {
    let likely =
        prop::sample::select(vec![Kind::System, Kind::System, Kind::Network, Kind::Pool, Kind::Image, Kind::Node]);
    let kind = prop_oneof![9 => likely, 1 => kind()];
    kind.prop_flat_map(|kind| {
        let object = || 0..24_u128;
        prop_oneof![
            1 => Just(genesis()),
            8 => (0..4_u8, object(), spec_for(kind)).prop_map(move |(number, object, spec)| Action::Create {
                kind,
                name: name(&format!("o{number}")),
                uid: uid(object),
                spec,
            }),
            4 => (object(), spec_for(kind), proptest::option::of(0..40_u64))
                .prop_map(move |(object, patch, if_version)| Action::Update { kind, uid: uid(object), patch, if_version }),
            2 => object().prop_map(move |object| Action::Delete { kind, uid: uid(object) }),
        ]
    })
}

/// The log that these actions become: a genesis and one entry each.
fn log(actions: Vec<Action>) -> Vec<Vec<u8>> {
    std::iter::once(genesis()).chain(actions).zip(1..).map(|(action, index)| entry(index, action)).collect()
}

fn replay(log: &[Vec<u8>]) -> Database {
    let mut db = Database::default();
    for bytes in log {
        assert!(!matches!(db.apply(bytes), Outcome::Stalled(_)));
    }
    db
}

fn systems(state: &State) -> impl Iterator<Item = &SystemSpec> {
    state.objects(Kind::System).map(|record| match &record.spec {
        Spec::System(spec) => spec,
        other => panic!("{other:?} is stored as a system"),
    })
}

fn assert_nothing_is_held_twice(state: &State) {
    let (mut macs, mut addresses, mut volumes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for system in systems(state) {
        for nic in &system.nics {
            assert!(macs.insert(nic.mac.as_ref().expect("every interface has one")));
            assert!(
                state.find(Kind::Network, None, nic.network.as_str()).is_some(),
                "a network was deleted under a guest"
            );
            if let Some(address) = &nic.address {
                assert!(addresses.insert((&nic.network, address)));
            }
        }
        for disk in &system.disks {
            assert!(state.find(Kind::Pool, None, disk.pool.as_str()).is_some(), "a pool was deleted under a disk");
            assert!(volumes.insert((&disk.pool, &disk.volume)));
        }
    }
}

fn assert_snapshots_are_equivalent(log: &[Vec<u8>], at: usize, expected: &State) {
    let image = replay(&log[..at]).state().image().expect("founded");
    let mut restored = State::restore(&image.encode()).expect("own snapshot");
    for bytes in &log[at..] {
        restored.apply(bytes);
    }
    assert_eq!(&restored, expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replay_and_snapshots_agree_and_nothing_is_held_twice(
        actions in prop::collection::vec(action(), 0..50),
        cut in any::<prop::sample::Index>(),
    ) {
        let log = log(actions);
        let mut db = Database::default();
        for bytes in &log {
            db.apply(bytes);
            assert_nothing_is_held_twice(db.state());
        }
        let again = replay(&log);
        prop_assert_eq!(again.state(), db.state());
        prop_assert_eq!(again.state().hash(), db.state().hash());
        assert_snapshots_are_equivalent(&log, 1 + cut.index(log.len()), db.state());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flip in any::<prop::sample::Index>()) {
        let mut db = replay(&log(vec![]));
        db.apply(&bytes);
        let mut broken = entry(2, Action::Delete { kind: Kind::Node, uid: uid(1) });
        let at = flip.index(broken.len());
        broken[at] ^= 1 << (bytes.len() % 8);
        let mut db = replay(&log(vec![]));
        db.apply(&broken);
        drop(decode(&broken, 2));
    }

    #[test]
    fn a_specs_of_any_shape_is_decided(kind in kind(), spec in any_json()) {
        let mut db = replay(&log(vec![]));
        let create = Action::Create { kind, name: name("x"), uid: uid(7), spec: spec.clone() };
        let created = db.apply(&entry(2, create));
        prop_assert!(!matches!(created, Outcome::Stalled(_)));
        let update = Action::Update { kind: Kind::Node, uid: uid(1), patch: spec, if_version: None };
        let updated = db.apply(&entry(3, update));
        prop_assert!(!matches!(updated, Outcome::Stalled(_)));
        prop_assert_eq!(db.state().identity().map(|identity| identity.epoch), Some(EPOCH));
    }
}
