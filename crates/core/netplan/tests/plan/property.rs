//! Whatever is there and whatever is asked: plans converge, and foreign links stay as they are.

use acp_base::Uid;
use acp_core_netplan::{
    Alias, Cidr, LinkKind, NetworkInput, Observed, ObservedLink, SystemInput, bridge_link, bridge_mac, plan, tap_link,
};
use proptest::prelude::*;

use crate::model::{desired, fresh, link, network, reconcile, system};

const UIDS: std::ops::Range<u128> = 1..5;

fn networks() -> impl Strategy<Value = Vec<NetworkInput>> {
    let one = (UIDS, 0u8..3, any::<bool>(), any::<bool>()).prop_map(|(uid, host, dhcp, nat)| {
        let mut network = network(uid, &format!("10.7{uid}.0.{host}/24"));
        (network.spec.dhcp, network.spec.nat) = (dhcp, nat);
        (uid, network)
    });
    prop::collection::vec(one, 0..5).prop_map(|all| std::collections::BTreeMap::from_iter(all).into_values().collect())
}

fn systems() -> impl Strategy<Value = Vec<SystemInput>> {
    let one = (10u128..13, prop::collection::vec(UIDS, 0..3)).prop_map(|(uid, nics)| (uid, system(uid, &nics)));
    prop::collection::vec(one, 0..3).prop_map(|all| std::collections::BTreeMap::from_iter(all).into_values().collect())
}

/// Names and marks of ours and of others, in any combination with any kind.
fn any_link() -> impl Strategy<Value = ObservedLink> {
    let names = UIDS
        .map(|uid| bridge_link(Uid::from_u128(uid)))
        .chain((10..13).flat_map(|uid| (0..2).filter_map(move |nic| tap_link(Uid::from_u128(uid), nic))))
        .chain(["eth0", "br0", "tap0"].map(str::to_owned))
        .collect::<Vec<_>>();
    let kinds = vec![LinkKind::Bridge, LinkKind::Tap, LinkKind::Other("dummy".to_owned()), LinkKind::Unknown];
    let aliases = prop_oneof![
        Just(None),
        Just(Some("uplink".to_owned())),
        (1u128..13).prop_map(|uid| Some(Alias(Uid::from_u128(uid)).to_string())),
    ];
    let macs = prop::option::of(UIDS.prop_map(|uid| bridge_mac(Uid::from_u128(uid))));
    let address = (1u8..6, 0u8..3).prop_map(|(net, host)| Cidr::observed([10, 70 + net, 0, host].into(), 24));
    let addresses = prop::collection::btree_set(address, 0..3);
    (prop::sample::select(names), prop::sample::select(kinds), aliases, macs, any::<bool>(), addresses).prop_map(
        |(name, kind, alias, mac, up, addresses)| ObservedLink {
            kind,
            alias,
            mac,
            up,
            addresses: addresses.into_iter().collect(),
            ..link(0, &name)
        },
    )
}

fn observed() -> impl Strategy<Value = Observed> {
    let link = (any_link(), prop::option::of(2u32..8));
    prop::collection::vec(link, 0..8).prop_map(|links| {
        let mut observed = fresh();
        for ((link, master), index) in links.into_iter().zip(2..) {
            if observed.link(&link.name).is_none() {
                observed.sysctls.insert(acp_core_netplan::no_ipv6_sysctl(&link.name), "0".to_owned());
                observed.links.push(ObservedLink { index, master: master.filter(|master| *master != index), ..link });
            }
        }
        observed
    })
}

/// A link without what a plan may change.
fn is_foreign(link: &ObservedLink) -> bool {
    !link.is_ours() && !UIDS.into_iter().any(|uid| link.is_bridge_of(Uid::from_u128(uid)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn plans_converge(networks in networks(), systems in systems(), mut observed in observed()) {
        let desired = desired(&networks, &systems);
        reconcile(&desired, &mut observed);
        let ended_bridges_let_go = plan(&desired, &observed);
        prop_assert!(ended_bridges_let_go.steps.iter().all(|step| step.to_string().starts_with("delete bridge")), "{:?}", ended_bridges_let_go);
        reconcile(&desired, &mut observed);
        prop_assert_eq!(plan(&desired, &observed).steps, vec![]);
    }

    #[test]
    fn foreign_links_stay_as_they_are(networks in networks(), systems in systems(), mut observed in observed()) {
        let desired = desired(&networks, &systems);
        let foreign: Vec<_> = observed.links.iter().filter(|link| is_foreign(link)).cloned().collect();
        for step in plan(&desired, &observed).steps {
            prop_assert!(foreign.iter().all(|link| step.link() != Some(&link.name)), "{step} touches a foreign link");
        }
        reconcile(&desired, &mut observed);
        for link in foreign {
            prop_assert_eq!(observed.link(&link.name), Some(&link));
        }
    }

    #[test]
    fn every_network_is_up_or_has_a_problem(networks in networks(), systems in systems(), mut observed in observed()) {
        let desired = desired(&networks, &systems);
        let problems = reconcile(&desired, &mut observed).problems;
        for network in &networks {
            let link = observed.link(&bridge_link(network.uid));
            let up = link.is_some_and(|link| {
                link.bridge_of() == Some(network.uid) && link.up && link.addresses.len() == 1 && link.addresses[0].to_string() == network.spec.address
            });
            let reported = problems.iter().any(|problem| problem.network() == network.uid);
            prop_assert!(up != reported, "{network:?}: {link:?}, {problems:?}");
        }
    }
}
