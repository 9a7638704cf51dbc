//! MACs and addresses that apply fills in.

use std::collections::BTreeSet;

use acp_base::Code;
use acp_wire_model::{Kind, system::SystemSpec};
use serde_json::json;

use crate::world::{World, system};

fn spec(world: &World, name: &str) -> SystemSpec {
    serde_json::from_value(world.spec_of(Kind::System, name)).expect("applied specs read")
}

#[test]
fn the_lowest_free_address_is_given_and_comes_back() {
    let mut world = World::furnished();
    world
        .create(
            Kind::System,
            "a",
            system(json!([]), json!([{"network": "lan"}, {"network": "lan", "address": "10.0.0.2"}])),
        )
        .expect("valid");
    let a = spec(&world, "a");
    assert_eq!(a.nics[0].address.as_deref(), Some("10.0.0.3"), "given addresses come before allocated ones");
    world.create(Kind::System, "b", system(json!([]), json!([{"network": "lan"}]))).expect("valid");
    assert_eq!(spec(&world, "b").nics[0].address.as_deref(), Some("10.0.0.4"));
    world.delete(Kind::System, world.uid_of(Kind::System, "a")).expect("unused");
    world.create(Kind::System, "c", system(json!([]), json!([{"network": "lan"}]))).expect("valid");
    assert_eq!(spec(&world, "c").nics[0].address.as_deref(), Some("10.0.0.2"));
}

#[test]
fn what_a_system_held_alone_is_free_when_it_is_gone() {
    let mut world = World::furnished();
    let nics = json!([{"network": "lan", "mac": "52:54:00:00:00:07", "address": "10.0.0.7"}]);
    let disks = json!([{"pool": "default", "volume": "v", "size_bytes": 512}]);
    world.create(Kind::System, "a", system(disks.clone(), nics.clone())).expect("valid");
    let taken = world.create(Kind::System, "b", system(disks.clone(), nics.clone())).expect_err("all of it is held");
    assert_eq!(taken.code, Code::AlreadyExists);
    world.delete(Kind::System, world.uid_of(Kind::System, "a")).expect("unused");
    world.create(Kind::System, "b", system(disks, nics)).expect("nobody holds it any more");
}

#[test]
fn a_full_subnet_says_so() {
    let mut world = World::new();
    world.create(Kind::Network, "small", json!({"address": "10.0.0.2/30"})).expect("valid");
    world.create(Kind::System, "a", system(json!([]), json!([{"network": "small"}]))).expect("one guest fits");
    assert_eq!(spec(&world, "a").nics[0].address.as_deref(), Some("10.0.0.1"));
    let refusal = world.create(Kind::System, "b", system(json!([]), json!([{"network": "small"}]))).expect_err("full");
    assert_eq!(refusal.code, Code::ResourceExhausted);
    assert!(refusal.message.contains("every address of 10.0.0.2/30 of network small is taken"), "{refusal}");
}

#[test]
fn without_dhcp_no_address_is_filled_in() {
    let mut world = World::new();
    world.create(Kind::Network, "quiet", json!({"address": "10.0.0.1/24", "dhcp": false})).expect("valid");
    let nics = json!([{"network": "quiet"}, {"network": "quiet", "address": "10.0.0.9"}]);
    world.create(Kind::System, "a", system(json!([]), nics)).expect("valid");
    let nics = spec(&world, "a").nics;
    assert_eq!((nics[0].address.as_deref(), nics[1].address.as_deref()), (None, Some("10.0.0.9")));
    assert!(nics[0].mac.is_some() && nics[0].mac != nics[1].mac);
}

#[test]
fn an_interface_keeps_its_addresses_when_others_change() {
    let mut world = World::furnished();
    for name in ["a", "b"] {
        world.create(Kind::System, name, system(json!([]), json!([{"network": "lan"}]))).expect("valid");
    }
    let before = spec(&world, "b").nics[0].clone();
    world.delete(Kind::System, world.uid_of(Kind::System, "a")).expect("unused");
    let b = world.uid_of(Kind::System, "b");
    world.update(Kind::System, b, json!({"nics": [{"network": "lan"}, {"network": "lan"}]})).expect("valid");
    let after = spec(&world, "b").nics;
    assert_eq!(after[0], before, "not the lower address that is free by now");
    assert_eq!(after[1].address.as_deref(), Some("10.0.0.2"));
    let swapped =
        json!({"nics": [{"network": "lan"}, {"network": "lan", "mac": before.mac, "address": before.address}]});
    world.update(Kind::System, b, swapped).expect("addresses move within the system");
    let swapped = spec(&world, "b").nics;
    assert_eq!((&swapped[1].mac, &swapped[1].address), (&before.mac, &before.address));
    assert_ne!(swapped[0].mac, before.mac);
}

#[test]
fn two_interfaces_of_one_system_cannot_share() {
    let mut world = World::furnished();
    let mac = json!([{"network": "lan", "mac": "52:54:00:00:00:01"}, {"network": "lan", "mac": "52:54:00:00:00:01"}]);
    let refusal = world.create(Kind::System, "a", system(json!([]), mac)).expect_err("twice");
    assert!(
        refusal.message.contains("nics[1]: mac: 52:54:00:00:00:01 belongs to another interface of this system"),
        "{refusal}"
    );
    let address = json!([{"network": "lan", "address": "10.0.0.9"}, {"network": "lan", "address": "10.0.0.9"}]);
    assert_eq!(
        world.create(Kind::System, "a", system(json!([]), address)).expect_err("twice").code,
        Code::AlreadyExists
    );
}

#[test]
fn a_thousand_systems_share_nothing() {
    let mut world = World::new();
    world.create(Kind::Network, "wide", json!({"address": "10.0.0.1/16"})).expect("valid");
    let (mut macs, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for number in 0..1_000 {
        let name = format!("s{number}");
        world.create(Kind::System, &name, system(json!([]), json!([{"network": "wide"}]))).expect("room");
        let nic = spec(&world, &name).nics.remove(0);
        assert!(macs.insert(nic.mac) && addresses.insert(nic.address));
    }
    assert!(addresses.contains(&Some("10.0.3.233".into())) && !addresses.contains(&Some("10.0.0.1".into())));
}
