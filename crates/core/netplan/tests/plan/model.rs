//! What the kernel does when a step is performed, as far as plans see it.

use acp_base::{ByteSize, Name, Uid};
use acp_core_netplan::{
    Alias, Desired, LinkKind, NetworkInput, Observed, ObservedLink, Plan, Step, SystemInput, no_ipv6_sysctl, plan,
};
use acp_wire_model::{
    network::NetworkSpec,
    system::{NicSpec, SystemSpec},
};

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

pub(crate) fn network(uid: u128, address: &str) -> NetworkInput {
    let spec = NetworkSpec { node: None, address: address.to_owned(), dhcp: true, nat: true };
    NetworkInput { uid: Uid::from_u128(uid), name: name(&format!("net{uid}")), spec }
}

pub(crate) fn system(uid: u128, networks: &[u128]) -> SystemInput {
    let nic = |network| NicSpec { network: name(&format!("net{network}")), mac: None, address: None };
    let spec = SystemSpec {
        node: name("here"),
        cpus: 1,
        memory_bytes: ByteSize::mib(64),
        disks: Vec::new(),
        nics: networks.iter().map(nic).collect(),
        autostart: false,
        floating: false,
    };
    SystemInput { uid: Uid::from_u128(uid), name: name(&format!("sys{uid}")), spec }
}

pub(crate) fn desired(networks: &[NetworkInput], systems: &[SystemInput]) -> Desired {
    Desired::from_specs(&name("here"), networks, systems)
}

/// A fresh network namespace: a loopback link and forwarding off.
pub(crate) fn fresh() -> Observed {
    let lo = ObservedLink { name: "lo".to_owned(), kind: LinkKind::Other("physical".to_owned()), ..link(1, "lo") };
    let sysctls = [(acp_core_netplan::FORWARDING_SYSCTL.to_owned(), "0".to_owned())].into();
    Observed { links: vec![lo], sysctls }
}

pub(crate) fn link(index: u32, name: &str) -> ObservedLink {
    ObservedLink {
        index,
        name: name.to_owned(),
        kind: LinkKind::Other("dummy".to_owned()),
        alias: None,
        mac: None,
        master: None,
        up: false,
        addresses: Vec::new(),
    }
}

/// A tap as the service makes it: marked, not attached, down.
pub(crate) fn tap(index: u32, name: &str, system: u128) -> ObservedLink {
    ObservedLink { kind: LinkKind::Tap, alias: Some(Alias(Uid::from_u128(system)).to_string()), ..link(index, name) }
}

fn find<'a>(observed: &'a mut Observed, name: &str) -> &'a mut ObservedLink {
    observed
        .links
        .iter_mut()
        .find(|link| link.name == name)
        .unwrap_or_else(|| panic!("a step names {name}, which is not there"))
}

pub(crate) fn perform(observed: &mut Observed, step: &Step) {
    match step {
        Step::CreateBridge { link: name, mac, .. } => {
            assert!(observed.link(name).is_none(), "{name} exists");
            let index = observed.links.iter().map(|link| link.index).max().unwrap_or(0) + 1;
            observed.sysctls.insert(no_ipv6_sysctl(name), "0".to_owned());
            observed.links.push(ObservedLink { kind: LinkKind::Bridge, mac: Some(*mac), ..link(index, name) });
        }
        Step::MarkBridge { network, link } => find(observed, link).alias = Some(Alias(*network).to_string()),
        Step::SetSysctl { key, value, .. } => {
            *observed.sysctls.get_mut(key).expect("a sysctl that exists") = value.clone();
        }
        Step::RemoveAddress { link, address, .. } => find(observed, link).addresses.retain(|found| found != address),
        Step::AddAddress { link, address, .. } => find(observed, link).addresses.push(*address),
        Step::SetUp { link, .. } => find(observed, link).up = true,
        Step::Attach { link, bridge, .. } => {
            find(observed, link).master = Some(find(&mut observed.clone(), bridge).index)
        }
        Step::DeleteBridge { link, .. } => delete(observed, link),
    }
}

/// Deletes a link as the kernel does: its ports are set free.
pub(crate) fn delete(observed: &mut Observed, name: &str) {
    let index = find(observed, name).index;
    observed.links.retain(|link| link.index != index);
    observed.sysctls.remove(&no_ipv6_sysctl(name));
    for port in observed.links.iter_mut().filter(|link| link.master == Some(index)) {
        port.master = None;
    }
}

/// Performs a whole plan and answers it.
pub(crate) fn reconcile(desired: &Desired, observed: &mut Observed) -> Plan {
    let plan = plan(desired, observed);
    for step in &plan.steps {
        perform(observed, step);
    }
    plan
}
