//! What the specs ask of this node.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use acp_base::{Name, Uid};
use acp_wire_model::{network::NetworkSpec, system::SystemSpec};

use crate::{
    cidr::Cidr,
    dhcp::Host,
    link::{bridge_link, tap_link},
};

/// A declared network.
#[derive(Clone, Debug)]
pub struct NetworkInput {
    /// Its identity.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// What was asked of it.
    pub spec: NetworkSpec,
}

/// A declared system.
#[derive(Clone, Debug)]
pub struct SystemInput {
    /// Its identity.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// What was asked of it.
    pub spec: SystemSpec,
}

/// A network as it should stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredNetwork {
    /// Its identity.
    pub uid: Uid,
    /// Its name.
    pub name: Name,
    /// The bridge.
    pub link: String,
    /// The bridge's address.
    pub address: Cidr,
    /// Whether dnsmasq serves it.
    pub dhcp: bool,
    /// Whether its guests are masqueraded.
    pub nat: bool,
    /// Who gets an address by DHCP, in the order of their links; empty without DHCP.
    pub hosts: Vec<Host>,
}

/// A tap as it should stand if it exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredTap {
    /// The link's name.
    pub link: String,
    /// The system.
    pub system: Uid,
    /// The system's name.
    pub system_name: Name,
    /// The position of the NIC in the system's spec.
    pub nic: u32,
    /// The network it belongs to.
    pub network: Uid,
}

/// A network whose spec cannot be built. Nothing of it is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedNetwork {
    /// Its identity.
    pub uid: Uid,
    /// Why.
    pub reason: String,
}

/// What the specs ask of this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The networks, by identity.
    pub networks: BTreeMap<Uid, DesiredNetwork>,
    /// The taps of this node's systems, by link name.
    pub taps: BTreeMap<String, DesiredTap>,
    /// The networks that cannot be built.
    pub rejected: Vec<RejectedNetwork>,
}

impl Desired {
    /// What these specs ask of `node`. Every node has every network; it serves the systems pinned to it.
    pub fn from_specs<'a>(
        node: &Name,
        networks: impl IntoIterator<Item = &'a NetworkInput>,
        systems: impl IntoIterator<Item = &'a SystemInput>,
    ) -> Self {
        let mut desired = Self::default();
        let mut uids = BTreeMap::new();
        for network in networks {
            uids.insert(network.name.clone(), network.uid);
            desired.add_network(network);
        }
        for system in systems.into_iter().filter(|system| system.spec.node == *node) {
            desired.add_system(system, &uids);
        }
        desired
    }

    /// Whether a spec names a network whose bridge has this name, as long as it cannot be built, too.
    pub fn names_bridge(&self, link: &str) -> bool {
        let named = self.networks.keys().chain(self.rejected.iter().map(|rejected| &rejected.uid));
        named.into_iter().any(|uid| bridge_link(*uid) == link)
    }

    /// The taps of one network, in the order of their names.
    pub fn taps_of(&self, network: Uid) -> impl Iterator<Item = &DesiredTap> {
        self.taps.values().filter(move |tap| tap.network == network)
    }

    /// The sysctls that a plan may want to see, as paths below `/proc/sys`.
    pub fn sysctls(&self) -> BTreeSet<String> {
        let links = self.networks.values().map(|network| crate::no_ipv6_sysctl(&network.link));
        links.chain([crate::FORWARDING_SYSCTL.to_owned()]).collect()
    }

    fn add_network(&mut self, network: &NetworkInput) {
        match network.spec.address.parse::<Cidr>() {
            Ok(address) => {
                let desired = DesiredNetwork {
                    uid: network.uid,
                    name: network.name.clone(),
                    link: bridge_link(network.uid),
                    address,
                    dhcp: network.spec.dhcp,
                    nat: network.spec.nat,
                    hosts: Vec::new(),
                };
                self.networks.insert(network.uid, desired);
            }
            Err(error) => {
                self.rejected.push(RejectedNetwork { uid: network.uid, reason: format!("its spec's address {error}") });
            }
        }
    }

    fn add_system(&mut self, system: &SystemInput, uids: &BTreeMap<Name, Uid>) {
        for (nic, spec) in (0..).zip(&system.spec.nics) {
            let (Some(network), Some(link)) = (uids.get(&spec.network), tap_link(system.uid, nic)) else { continue };
            let tap = DesiredTap {
                link: link.clone(),
                system: system.uid,
                system_name: system.name.clone(),
                nic,
                network: *network,
            };
            self.taps.insert(link, tap);
            let Some(network) = self.networks.get_mut(network).filter(|network| network.dhcp) else { continue };
            let address = spec.address.as_deref().and_then(|text| text.parse::<Ipv4Addr>().ok());
            let mac = spec.mac.as_deref().and_then(|text| text.parse().ok());
            if let (Some(mac), Some(address)) = (mac, address.filter(|address| network.address.is_guest(*address))) {
                network.hosts.push(Host { mac, address, name: system.name.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use acp_base::ByteSize;
    use acp_wire_model::system::NicSpec;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    fn network(uid: u128, network_name: &str, address: &str, dhcp: bool) -> NetworkInput {
        let spec = NetworkSpec { node: None, address: address.to_owned(), dhcp, nat: true };
        NetworkInput { uid: Uid::from_u128(uid), name: name(network_name), spec }
    }

    fn system(uid: u128, node: &str, nics: &[(&str, &str, &str)]) -> SystemInput {
        let nic = |(network, mac, address): &(&str, &str, &str)| NicSpec {
            network: name(network),
            mac: (!mac.is_empty()).then(|| (*mac).to_owned()),
            address: (!address.is_empty()).then(|| (*address).to_owned()),
        };
        let spec = SystemSpec {
            node: name(node),
            cpus: 1,
            memory_bytes: ByteSize::mib(64),
            disks: Vec::new(),
            nics: nics.iter().map(nic).collect(),
            autostart: false,
            floating: false,
        };
        SystemInput { uid: Uid::from_u128(uid), name: name("demo"), spec }
    }

    #[test]
    fn systems_of_this_node_get_taps_and_addresses() {
        let networks = [network(1, "lan", "10.77.0.1/24", true), network(2, "raw", "10.78.0.1/24", false)];
        let nics = [("lan", "52:54:00:00:00:01", "10.77.0.10"), ("raw", "52:54:00:00:00:02", ""), ("gone", "", "")];
        let systems = [system(7, "here", &nics), system(8, "there", &nics)];
        let desired = Desired::from_specs(&name("here"), &networks, &systems);
        let taps: Vec<_> = desired.taps.values().map(|tap| (tap.link.as_str(), tap.nic, tap.network)).collect();
        let uid = Uid::from_u128;
        assert_eq!(taps, [("acpt00000000070", 0, uid(1)), ("acpt00000000071", 1, uid(2))]);
        let hosts = &desired.networks[&uid(1)].hosts;
        assert_eq!(hosts.len(), 1);
        assert_eq!(
            (hosts[0].mac.to_string(), hosts[0].address.to_string()),
            ("52:54:00:00:00:01".into(), "10.77.0.10".into())
        );
        assert!(desired.networks[&uid(2)].hosts.is_empty());
        assert_eq!(desired.taps_of(uid(2)).count(), 1);
    }

    #[test]
    fn an_address_outside_the_network_is_not_handed_out() {
        for address in ["10.78.0.10", "10.77.0.1", "10.77.0.255", "nonsense"] {
            let systems = [system(7, "here", &[("lan", "52:54:00:00:00:01", address)])];
            let desired = Desired::from_specs(&name("here"), &[network(1, "lan", "10.77.0.1/24", true)], &systems);
            assert!(desired.networks[&Uid::from_u128(1)].hosts.is_empty(), "{address}");
        }
    }

    #[test]
    fn a_spec_that_cannot_be_built_is_rejected_and_still_named() {
        let desired = Desired::from_specs(&name("here"), &[network(1, "lan", "10.77.0.0/24", true)], &[]);
        assert!(desired.networks.is_empty() && desired.names_bridge(&bridge_link(Uid::from_u128(1))));
        assert!(desired.rejected[0].reason.contains("the address of the subnet itself"), "{:?}", desired.rejected);
    }
}
