//! The nftables document, compared with golden files that `nft -j -c -f` accepts.

use acp_base::{Name, Uid};
use acp_core_netplan::{Desired, NetworkInput, nft_document};
use acp_wire_model::network::NetworkSpec;

fn network(uid: u128, name: &str, address: &str, nat: bool) -> NetworkInput {
    let name = name.parse::<Name>().expect("a good name");
    NetworkInput { uid: Uid::from_u128(uid), name, spec: NetworkSpec { address: address.to_owned(), dhcp: true, nat } }
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
