//! The nftables document, compared with golden files that `nft -j -f` accepts and with what nft 1.0.6 lists afterwards.

use acp_base::{Name, Uid};
use acp_core_netplan::{Desired, NetworkInput, TableContent, nft_document};
use acp_wire_model::network::NetworkSpec;

fn network(uid: u128, name: &str, address: &str, nat: bool) -> NetworkInput {
    let name = name.parse::<Name>().expect("a good name");
    NetworkInput {
        uid: Uid::from_u128(uid),
        name,
        spec: NetworkSpec { node: None, address: address.to_owned(), dhcp: true, nat },
    }
}

fn document(networks: &[NetworkInput]) -> serde_json::Value {
    nft_document(&Desired::from_specs(&"here".parse().expect("a good name"), networks, &[]))
}

fn golden(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("golden files are JSON")
}

#[test]
fn a_network_with_nat_and_one_without() {
    let networks = [network(1, "lan", "10.77.0.1/24", true), network(2, "inner", "192.168.5.9/28", false)];
    assert_eq!(document(&networks), golden(include_str!("golden/two_networks.json")));
}

#[test]
fn without_networks_the_table_goes() {
    assert_eq!(document(&[]), golden(include_str!("golden/no_network.json")));
}

/// As `nft -j list table inet acp` wrote it after it had read `two_networks.json`.
fn listing() -> serde_json::Value {
    golden(include_str!("golden/two_networks_listed.json"))
}

#[test]
fn a_listing_is_compared_with_the_document() {
    let document = golden(include_str!("golden/two_networks.json"));
    let (wanted, found) = (TableContent::of_document(&document), TableContent::of_listing(&listing()));
    assert_eq!(wanted, found);
    let none = TableContent::of_document(&golden(include_str!("golden/no_network.json")));
    assert_eq!(none, TableContent::default());
    assert!(!none.has_shape_of(&wanted) && !wanted.has_shape_of(&none));
}

#[test]
fn every_lost_or_changed_object_is_noticed() {
    let wanted = TableContent::of_listing(&listing());
    let count = listing()["nftables"].as_array().expect("a list").len();
    for lost in 1..count {
        let mut listing = listing();
        listing["nftables"].as_array_mut().expect("a list").remove(lost);
        let found = TableContent::of_listing(&listing);
        assert!(found != wanted && !found.has_shape_of(&wanted), "object {lost}");
    }
    let mut reworded = listing();
    reworded["nftables"][count - 1]["rule"]["expr"] = serde_json::json!([{ "drop": null }]);
    let found = TableContent::of_listing(&reworded);
    assert!(found != wanted && found.has_shape_of(&wanted));
}
