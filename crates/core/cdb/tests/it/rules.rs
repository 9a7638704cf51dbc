//! What each kind's spec must be, and what cannot be deleted.

use acp_base::Code::{self, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound};
use acp_wire_model::Kind;
use serde_json::{Value, json};

use crate::world::{World, image, plain_system, system};

fn with(mut spec: Value, key: &str, value: Value) -> Value {
    spec[key] = value;
    spec
}

fn disk(volume: &str) -> Value {
    json!({"pool": "default", "volume": volume, "size_bytes": 64 << 20})
}

#[test]
fn systems_outside_their_bounds_are_refused_by_name() {
    let mut world = World::furnished();
    world.create(Kind::Pool, "other", json!({"driver": "directory", "node": "n1"})).expect("pool");
    world.create(Kind::Image, "far", image("other")).expect("image");
    world
        .create(
            Kind::System,
            "taken",
            system(json!([disk("v")]), json!([{"network": "lan", "mac": "52:54:00:00:00:07"}])),
        )
        .expect("valid");
    let many = |item: Value| Value::Array(vec![item; 17]);
    let cases: Vec<(Value, Code, &str)> = vec![
        (with(plain_system(), "cpus", json!(0)), InvalidArgument, "cpus is 0"),
        (with(plain_system(), "cpus", json!(513)), InvalidArgument, "cpus is 513"),
        (with(plain_system(), "cpus", json!(-1)), InvalidArgument, "cpus"),
        (with(plain_system(), "memory_bytes", json!(16 << 20)), InvalidArgument, "memory_bytes is 16MiB"),
        (with(plain_system(), "memory_bytes", json!((64 << 20) + 1)), InvalidArgument, "no multiple of 1MiB"),
        (with(plain_system(), "memory_bytes", json!(u64::MAX)), InvalidArgument, "memory_bytes"),
        (with(plain_system(), "node", json!("n9")), NotFound, "no node named \"n9\""),
        (with(plain_system(), "node", json!(7)), InvalidArgument, "node"),
        (system(many(disk("w")), json!([])), InvalidArgument, "disks has 17"),
        (system(json!([]), many(json!({"network": "lan"}))), InvalidArgument, "nics has 17"),
        (
            system(json!([disk("w"), disk("w")]), json!([])),
            InvalidArgument,
            "disks[1]: the volume default/w is named twice",
        ),
        (
            system(json!([disk("v")]), json!([])),
            AlreadyExists,
            "disks[0]: the volume default/v is a disk of system \"taken\"",
        ),
        (
            system(json!([with(disk("w"), "size_bytes", json!(0))]), json!([])),
            InvalidArgument,
            "disks[0]: size_bytes is 0",
        ),
        (system(json!([with(disk("w"), "size_bytes", json!(513))]), json!([])), InvalidArgument, "size_bytes is 513"),
        (system(json!([with(disk("w"), "size_bytes", json!(-1))]), json!([])), InvalidArgument, "disks[0].size_bytes"),
        (system(json!([with(disk("w"), "pool", json!("none"))]), json!([])), NotFound, "no pool named \"none\""),
        (system(json!([with(disk("w"), "volume", json!("../w"))]), json!([])), InvalidArgument, "disks[0].volume"),
        (system(json!([with(disk("w"), "image", json!("none"))]), json!([])), NotFound, "no image named \"none\""),
        (system(json!([with(disk("w"), "image", json!("far"))]), json!([])), InvalidArgument, "lies in pool other"),
        (
            system(json!([with(with(disk("w"), "image", json!("base")), "size_bytes", json!(1 << 20))]), json!([])),
            InvalidArgument,
            "the disk of image \"base\" has 64MiB",
        ),
        (system(json!([]), json!([{"network": "none"}])), NotFound, "nics[0]: no network named \"none\""),
        (system(json!([]), json!([{"network": "lan", "mac": "x"}])), InvalidArgument, "nics[0]: mac"),
        (
            system(json!([]), json!([{"network": "lan", "mac": "52:54:00:00:00:07"}])),
            AlreadyExists,
            "belongs to system \"taken\"",
        ),
        (system(json!([]), json!([{"network": "lan", "address": "10.0.1.2"}])), InvalidArgument, "10.0.1.2 cannot be"),
        (system(json!([]), json!([{"network": "lan", "address": "10.0.0.1"}])), InvalidArgument, "10.0.0.1 cannot be"),
        (
            system(json!([]), json!([{"network": "lan", "address": "10.0.0.2"}])),
            AlreadyExists,
            "belongs to system \"taken\"",
        ),
        (system(json!([]), json!([{"network": "lan", "address": "10.0.0.02"}])), InvalidArgument, "no IPv4 address"),
    ];
    for (spec, code, fragment) in cases {
        let refusal = world.create(Kind::System, "x", spec.clone()).expect_err(fragment);
        assert_eq!(refusal.code, code, "{spec}: {refusal}");
        assert!(refusal.message.contains(fragment), "{refusal} lacks {fragment}");
    }
}

#[test]
fn networks_are_apart_and_keep_their_guests() {
    let mut world = World::furnished();
    for (address, code, fragment) in [
        ("10.0.0.129/25", AlreadyExists, "overlaps that of network \"lan\" (10.0.0.1/24)"),
        ("nonsense", InvalidArgument, "address: \"nonsense\""),
        ("10.1.0.0/24", InvalidArgument, "first or last"),
        ("10.1.0.1/31", InvalidArgument, "prefix length"),
    ] {
        let refusal = world.create(Kind::Network, "x", json!({"address": address})).expect_err(fragment);
        assert!(refusal.code == code && refusal.message.contains(fragment), "{refusal}");
    }
    world
        .create(Kind::System, "a", system(json!([]), json!([{"network": "lan", "address": "10.0.0.77"}])))
        .expect("valid");
    let lan = world.uid_of(Kind::Network, "lan");
    let refusal = world.update(Kind::Network, lan, json!({"address": "10.2.0.1/24"})).expect_err("guest outside");
    assert!(refusal.code == FailedPrecondition && refusal.message.contains("system \"a\" has 10.0.0.77"), "{refusal}");
    world.update(Kind::Network, lan, json!({"address": "10.0.0.77/24"})).expect_err("the guest's own address");
    world.update(Kind::Network, lan, json!({"address": "10.0.0.1/16"})).expect("wider, apart from itself");
    world.create(Kind::Network, "y", json!({"address": "10.0.200.1/24"})).expect_err("inside the wider one");
}

#[test]
fn pools_are_confined_and_apart() {
    let mut world = World::furnished();
    let pool = |path: &str| json!({"driver": "directory", "node": "n1", "path": path});
    world.create(Kind::Pool, "srv", pool("/srv/acp")).expect("valid");
    for (path, code, fragment) in [
        ("srv", InvalidArgument, "is not absolute"),
        ("/srv/../etc", InvalidArgument, "holds \"..\""),
        ("/", InvalidArgument, "root directory"),
        ("/a\u{0}b", InvalidArgument, "control characters"),
        ("/srv/acp", FailedPrecondition, "of pool \"srv\""),
        ("/srv/acp/", FailedPrecondition, "of pool \"srv\""),
        ("/srv/acp/inner", FailedPrecondition, "of pool \"srv\""),
        ("/srv", FailedPrecondition, "of pool \"srv\""),
    ] {
        let refusal = world.create(Kind::Pool, "x", pool(path)).expect_err(path);
        assert!(refusal.code == code && refusal.message.contains(fragment), "{refusal}");
    }
    world.create(Kind::Pool, "x", pool("/srv/acp2")).expect("a sibling");
    let uid = world.uid_of(Kind::Pool, "srv");
    let refusal = world.update(Kind::Pool, uid, json!({"path": "/else"})).expect_err("would leave volumes behind");
    assert_eq!(refusal.code, FailedPrecondition);
    world.create(Kind::Pool, "y", json!({"driver": "tape", "node": "n1"})).expect_err("unknown driver");
}

#[test]
fn images_are_whole_and_never_change() {
    let mut world = World::furnished();
    for (key, value, fragment) in [
        ("sha256", json!("abc"), "sha256"),
        ("sha256", json!("G".repeat(64)), "sha256"),
        ("format", json!("vmdk"), "format"),
        ("virtual_size_bytes", json!(0), "virtual_size_bytes"),
        ("pool", json!("none"), "no pool named"),
        ("source", json!("x".repeat(2000)), "source"),
    ] {
        let refusal = world.create(Kind::Image, "x", with(image("default"), key, value)).expect_err(key);
        assert!(refusal.message.contains(fragment), "{refusal}");
    }
    let base = world.uid_of(Kind::Image, "base");
    let refusal = world.update(Kind::Image, base, json!({"sha256": "1".repeat(64)})).expect_err("another content");
    assert_eq!(refusal.code, FailedPrecondition);
    world.update(Kind::Image, base, json!({"source": "elsewhere"})).expect("words for people");
}

#[test]
fn what_is_used_cannot_be_deleted_and_says_by_whom() {
    let mut world = World::furnished();
    let disk = json!({"pool": "default", "volume": "v", "size_bytes": 64 << 20, "image": "base"});
    world.create(Kind::System, "a", system(json!([disk]), json!([{"network": "lan"}]))).expect("valid");
    world.create(Kind::System, "b", system(json!([]), json!([{"network": "lan"}]))).expect("valid");
    for (kind, name, fragment) in [
        (Kind::Network, "lan", "network \"lan\" is used by system \"a\" and 1 more"),
        (Kind::Image, "base", "image \"base\" is used by system \"a\""),
        (Kind::Pool, "default", "pool \"default\" is used by image \"base\" and 1 more"),
        (Kind::Node, "n1", "node \"n1\" is used by"),
    ] {
        let refusal = world.delete(kind, world.uid_of(kind, name)).expect_err(name);
        assert!(refusal.code == FailedPrecondition && refusal.message.contains(fragment), "{refusal}");
    }
    for (kind, name) in [
        (Kind::System, "a"),
        (Kind::System, "b"),
        (Kind::Network, "lan"),
        (Kind::Image, "base"),
        (Kind::Pool, "default"),
    ] {
        world.delete(kind, world.uid_of(kind, name)).expect("unused by now");
    }
    let refusal = world.delete(Kind::Node, world.uid_of(Kind::Node, "n1")).expect_err("the last");
    assert!(refusal.message.contains("the cluster's last"), "{refusal}");
}

#[test]
fn reported_kinds_are_not_declared() {
    let mut world = World::furnished();
    for kind in Kind::ALL.into_iter().filter(|kind| !kind.is_declared()) {
        let refusal = world.create(kind, "x", json!({})).expect_err("reported");
        assert!(refusal.message.contains("its reporter says so"), "{refusal}");
    }
}
