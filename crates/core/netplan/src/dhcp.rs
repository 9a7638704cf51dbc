//! What dnsmasq is told of a network.
//!
//! One dnsmasq serves one bridge and nothing but DHCP (`--port=0`); it knows its guests by MAC address and gives nobody
//! else an address, because addresses are decided when a spec is applied to the log. It keeps no lease file: every lease
//! follows from the specs, so after a restart it confirms what it is asked for.
//!
//! A guest is one file of the hosts directory. dnsmasq reads new and replaced files at once by inotify, but what it has
//! read from a file that is gone stays in force until it gets SIGHUP, and the lease that it gave even longer: it has to be
//! replaced ([`HostChanges::needs_replacement`]).

use std::{collections::BTreeMap, net::Ipv4Addr};

use acp_base::Name;

use crate::{desired::DesiredNetwork, link::Mac};

/// How long a guest may keep its address without asking again. Short enough that a changed spec reaches it soon.
const LEASE_TIME: &str = "1h";

/// Leases dnsmasq may hold: as many as the largest network of a node is expected to have guests, so that a flood of
/// requests cannot grow it without end.
const LEASES_MAX: u32 = 4096;

/// A guest that gets its address by DHCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// How dnsmasq knows it.
    pub mac: Mac,
    /// What it gets.
    pub address: Ipv4Addr,
    /// The system's name, handed out as host name.
    pub name: Name,
}

impl Host {
    /// The name of its file in the hosts directory.
    pub fn file_name(&self) -> String {
        self.mac.to_string().replace(':', "-")
    }

    /// The content of its file in the hosts directory.
    pub fn entry(&self) -> String {
        match self.label() {
            Some(label) => format!("{},{},{label}\n", self.mac, self.address),
            None => format!("{},{}\n", self.mac, self.address),
        }
    }

    /// The system's name as a host name (RFC 1123): dots and underscores become dashes.
    fn label(&self) -> Option<String> {
        let text: String =
            self.name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let trimmed = text.trim_matches('-');
        (!trimmed.is_empty()).then(|| trimmed.to_owned())
    }
}

/// The arguments of a network's dnsmasq, beside those of its template. `hosts_dir` is the hosts directory, `resolvers` the
/// name servers that guests behind NAT are told; a guest of a network without NAT gets neither router nor name servers.
pub fn arguments(network: &DesiredNetwork, hosts_dir: &str, resolvers: &[Ipv4Addr]) -> Vec<String> {
    let address = network.address;
    let mut arguments = vec![
        "--no-resolv".to_owned(),
        "--no-hosts".to_owned(),
        "--port=0".to_owned(),
        "--pid-file=".to_owned(),
        "--log-facility=-".to_owned(),
        format!("--interface={}", network.link),
        "--except-interface=lo".to_owned(),
        "--bind-dynamic".to_owned(),
        "--dhcp-authoritative".to_owned(),
        "--leasefile-ro".to_owned(),
        format!("--dhcp-lease-max={}", address.guest_count().min(LEASES_MAX)),
        format!("--dhcp-range={},static,{},{LEASE_TIME}", address.network(), address.netmask()),
        format!("--dhcp-hostsdir={hosts_dir}"),
    ];
    let routed = network.nat.then(|| address.address().to_string());
    let resolvers: Vec<_> = resolvers.iter().filter(|_| network.nat).map(Ipv4Addr::to_string).collect();
    arguments.push(option("router", routed.as_slice()));
    arguments.push(option("dns-server", &resolvers));
    arguments
}

/// An option with these values; without any, dnsmasq sends none where it would have sent its own address.
fn option(name: &str, values: &[String]) -> String {
    let values: String = values.iter().map(|value| format!(",{value}")).collect();
    format!("--dhcp-option=option:{name}{values}")
}

/// How a hosts directory differs from what it should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostChanges {
    /// Files to write, by name.
    pub write: BTreeMap<String, String>,
    /// Files to remove.
    pub remove: Vec<String>,
    /// Whether dnsmasq must be replaced because something it knows no longer holds.
    pub needs_replacement: bool,
}

/// What has to be done to a hosts directory that holds the files `found` (content by name).
pub fn host_changes(hosts: &[Host], found: &BTreeMap<String, String>) -> HostChanges {
    let wanted: BTreeMap<_, _> = hosts.iter().map(|host| (host.file_name(), host.entry())).collect();
    let remove: Vec<_> = found.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
    let replaced = wanted.iter().any(|(name, entry)| found.get(name).is_some_and(|old| old != entry));
    let needs_replacement = replaced || !remove.is_empty();
    let write = wanted.into_iter().filter(|(name, entry)| found.get(name) != Some(entry)).collect();
    HostChanges { write, remove, needs_replacement }
}

#[cfg(test)]
mod tests {
    use acp_base::Uid;

    use super::*;

    fn host(last: u8, name: &str) -> Host {
        let name = name.parse().expect("a good name");
        Host { mac: Mac([0x52, 0x54, 0, 0, 0, last]), address: Ipv4Addr::new(10, 77, 0, last), name }
    }

    fn network(nat: bool) -> DesiredNetwork {
        DesiredNetwork {
            uid: Uid::from_u128(1),
            name: "lan".parse().expect("a good name"),
            link: "acpb0000000001".to_owned(),
            address: "10.77.0.1/24".parse().expect("a good address"),
            dhcp: true,
            nat,
            hosts: Vec::new(),
        }
    }

    #[test]
    fn serves_known_guests_of_one_bridge_only() {
        let arguments =
            arguments(&network(true), "/run/hosts", &[Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(1, 1, 1, 1)]);
        for wanted in [
            "--interface=acpb0000000001",
            "--dhcp-range=10.77.0.0,static,255.255.255.0,1h",
            "--dhcp-hostsdir=/run/hosts",
            "--dhcp-option=option:router,10.77.0.1",
            "--dhcp-option=option:dns-server,9.9.9.9,1.1.1.1",
            "--dhcp-lease-max=253",
            "--port=0",
        ] {
            assert!(arguments.iter().any(|argument| argument == wanted), "{wanted} is missing in {arguments:?}");
        }
    }

    #[test]
    fn without_nat_there_is_no_way_out_to_announce() {
        let arguments = arguments(&network(false), "/run/hosts", &[Ipv4Addr::new(9, 9, 9, 9)]);
        assert!(arguments.contains(&"--dhcp-option=option:router".to_owned()), "{arguments:?}");
        assert!(arguments.contains(&"--dhcp-option=option:dns-server".to_owned()), "{arguments:?}");
    }

    #[test]
    fn an_entry_carries_a_valid_host_name() {
        assert_eq!(host(9, "web_1.a").entry(), "52:54:00:00:00:09,10.77.0.9,web-1-a\n");
        assert_eq!(host(9, "a..").entry(), "52:54:00:00:00:09,10.77.0.9,a\n");
        assert_eq!(host(9, "a").file_name(), "52-54-00-00-00-09");
    }

    #[test]
    fn dnsmasq_is_told_only_when_something_ends() {
        let none = BTreeMap::new();
        let added = host_changes(&[host(2, "a"), host(3, "b")], &none);
        assert_eq!((added.write.len(), added.remove.len(), added.needs_replacement), (2, 0, false));
        assert_eq!(host_changes(&[host(2, "a"), host(3, "b")], &added.write), HostChanges::default());
        let removed = host_changes(&[host(3, "b")], &added.write);
        assert_eq!(
            (removed.write.len(), removed.remove, removed.needs_replacement),
            (0, vec![host(2, "a").file_name()], true)
        );
        let renamed = host_changes(&[host(2, "c"), host(3, "b")], &added.write);
        assert_eq!((renamed.write.len(), renamed.remove.len(), renamed.needs_replacement), (1, 0, true));
    }
}
