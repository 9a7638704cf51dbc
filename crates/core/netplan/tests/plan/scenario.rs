//! What a plan says in the situations that matter, one test each.

use acp_base::Uid;
use acp_core_netplan::{
    Alias, Desired, LinkKind, Observed, ObservedLink, Plan, Problem, bridge_link, bridge_mac, plan,
};

use crate::model::{delete, desired, fresh, link, network, reconcile, system, tap};

const BRIDGE: &str = "acpb0000000001";
const TAP: &str = "acpt00000000070";

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

fn one_network() -> Desired {
    desired(&[network(1, "10.77.0.1/24")], &[system(7, &[1])])
}

fn built() -> Observed {
    let mut observed = fresh();
    reconcile(&one_network(), &mut observed);
    observed
}

fn change(observed: &mut Observed, name: &str, change: impl FnOnce(&mut ObservedLink)) {
    change(observed.links.iter_mut().find(|link| link.name == name).expect("the link is there"));
}

#[test]
fn a_network_is_built_from_nothing_and_then_left_alone() {
    let mut observed = fresh();
    let first = reconcile(&one_network(), &mut observed);
    assert_eq!(
        steps(&first),
        [
            "create bridge acpb0000000001",
            "mark bridge acpb0000000001",
            "set net/ipv6/conf/acpb0000000001/disable_ipv6 to 1",
            "add 10.77.0.1/24 to acpb0000000001",
            "set acpb0000000001 up",
            "set net/ipv4/ip_forward to 1",
        ]
    );
    assert_eq!(plan(&one_network(), &observed), Plan::default());
    assert_eq!(observed.link(BRIDGE).and_then(ObservedLink::bridge_of), Some(Uid::from_u128(1)));
}

#[test]
fn a_bridge_deleted_behind_our_back_comes_back_with_its_taps() {
    let mut observed = built();
    observed.links.push(tap(9, TAP, 7));
    assert_eq!(
        steps(&reconcile(&one_network(), &mut observed)),
        ["attach acpt00000000070 to acpb0000000001", "set acpt00000000070 up"]
    );
    delete(&mut observed, BRIDGE);
    let repaired = reconcile(&one_network(), &mut observed);
    assert!(steps(&repaired).contains(&"attach acpt00000000070 to acpb0000000001".to_owned()), "{repaired:?}");
    assert_eq!(plan(&one_network(), &observed), Plan::default());
}

#[test]
fn each_deviation_has_its_one_step() {
    type Deviation = (fn(&mut ObservedLink), &'static [&'static str]);
    let deviations: [Deviation; 4] = [
        (|link| link.up = false, &["set acpb0000000001 up"]),
        (|link| link.addresses.clear(), &["add 10.77.0.1/24 to acpb0000000001"]),
        (
            |link| link.addresses = vec!["10.99.0.1/24".parse().unwrap()],
            &["remove 10.99.0.1/24 from acpb0000000001", "add 10.77.0.1/24 to acpb0000000001"],
        ),
        (|link| link.alias = None, &["mark bridge acpb0000000001"]),
    ];
    for (deviate, expected) in deviations {
        let mut observed = built();
        change(&mut observed, BRIDGE, deviate);
        assert_eq!(steps(&reconcile(&one_network(), &mut observed)), expected);
        assert_eq!(plan(&one_network(), &observed), Plan::default());
    }
}

#[test]
fn forwarding_is_switched_on_only_where_a_network_needs_it() {
    let mut quiet = network(1, "10.77.0.1/24");
    quiet.spec.nat = false;
    let mut observed = fresh();
    let plan = reconcile(&desired(&[quiet], &[]), &mut observed);
    assert!(!steps(&plan).iter().any(|step| step.contains("ip_forward")), "{plan:?}");
    assert_eq!(observed.sysctls[acp_core_netplan::FORWARDING_SYSCTL], "0");
}

#[test]
fn a_kernel_without_ipv6_needs_no_switch() {
    let mut observed = built();
    observed.sysctls.clear();
    assert_eq!(plan(&one_network(), &observed), Plan::default());
}

#[test]
fn the_bridge_of_an_ended_network_goes_when_its_last_port_has_gone() {
    let mut observed = built();
    observed.links.push(tap(9, TAP, 7));
    reconcile(&one_network(), &mut observed);
    let none = desired(&[], &[]);
    let waiting = plan(&none, &observed);
    assert!(waiting.steps.is_empty());
    assert!(matches!(&waiting.problems[..], [Problem::StillUsed { port, .. }] if port == TAP), "{waiting:?}");
    delete(&mut observed, TAP);
    assert_eq!(steps(&reconcile(&none, &mut observed)), ["delete bridge acpb0000000001"]);
    assert_eq!(observed.links.len(), 1);
}

#[test]
fn the_bridge_of_a_spec_that_cannot_be_built_stays() {
    let observed = built();
    let plan = plan(&desired(&[network(1, "10.77.0.0/24")], &[]), &observed);
    assert!(plan.steps.is_empty());
    assert!(matches!(&plan.problems[..], [Problem::Rejected { .. }]), "{plan:?}");
}

#[test]
fn a_foreign_link_of_our_name_is_reported_and_left_alone() {
    let uid = Uid::from_u128(1);
    let bridge = ObservedLink { kind: LinkKind::Bridge, ..link(5, BRIDGE) };
    let cases = [
        (link(5, BRIDGE), "kind dummy"),
        (bridge.clone(), "a bridge"),
        (
            ObservedLink { alias: Some("uplink".to_owned()), mac: Some(bridge_mac(uid)), ..bridge.clone() },
            "a bridge, alias \"uplink\"",
        ),
        (
            ObservedLink { alias: Some(Alias(Uid::from_u128(2)).to_string()), ..bridge },
            "a bridge, alias \"acp:00000000",
        ),
        (ObservedLink { alias: Some(Alias(uid).to_string()), ..link(5, BRIDGE) }, "kind dummy, alias"),
        (ObservedLink { kind: LinkKind::Unknown, ..link(5, BRIDGE) }, "cannot be read"),
    ];
    for (foreign, found) in cases {
        let mut observed = fresh();
        observed.links.extend([foreign, tap(9, TAP, 7)]);
        let plan = plan(&one_network(), &observed);
        assert_eq!(steps(&plan), ["set net/ipv4/ip_forward to 1"]);
        let text = plan.problems.iter().map(ToString::to_string).collect::<String>();
        assert!(text.contains(found) && text.contains("ip link delete acpb0000000001"), "{text}");
    }
}

#[test]
fn a_bridge_made_a_moment_ago_is_finished() {
    let mut observed = fresh();
    let newborn = ObservedLink { kind: LinkKind::Bridge, mac: Some(bridge_mac(Uid::from_u128(1))), ..link(5, BRIDGE) };
    observed.links.push(newborn);
    reconcile(&one_network(), &mut observed);
    assert_eq!(plan(&one_network(), &observed), Plan::default());
    assert_eq!(observed.link(BRIDGE).and_then(ObservedLink::bridge_of), Some(Uid::from_u128(1)));
}

/// The node died between making a bridge and marking it, and the network was deleted meanwhile.
#[test]
fn a_bridge_made_a_moment_ago_for_nobody_goes() {
    let mut observed = fresh();
    let newborn = ObservedLink { kind: LinkKind::Bridge, mac: Some(bridge_mac(Uid::from_u128(1))), ..link(5, BRIDGE) };
    observed.links.push(ObservedLink { alias: Some("mine".to_owned()), ..newborn.clone() });
    reconcile(&desired(&[], &[]), &mut observed);
    assert!(observed.link(BRIDGE).is_some(), "somebody else's alias makes it somebody else's");
    observed.links.pop();
    observed.links.push(newborn);
    reconcile(&desired(&[], &[]), &mut observed);
    assert!(observed.link(BRIDGE).is_none(), "it stays for ever");
}

#[test]
fn marks_alone_do_not_make_a_link_ours() {
    let uid = Uid::from_u128(3);
    let alias = Some(Alias(uid).to_string());
    let mut observed = fresh();
    observed.links.push(ObservedLink { kind: LinkKind::Bridge, alias: alias.clone(), ..link(5, "br-uplink") });
    observed.links.push(ObservedLink { kind: LinkKind::Bridge, ..link(6, &bridge_link(uid)) });
    observed.links.push(ObservedLink { kind: LinkKind::Tap, alias, ..link(7, "tap0") });
    assert_eq!(plan(&desired(&[], &[]), &observed), Plan::default());
}

#[test]
fn overlapping_foreign_subnets_are_found_and_our_own_are_not() {
    let mut observed = built();
    let cidr = "10.77.0.1/16".parse().expect("a good address");
    assert_eq!(observed.overlapping(&cidr), None);
    observed.links.push(ObservedLink { addresses: vec!["10.77.9.2/24".parse().unwrap()], ..link(5, "eth0") });
    assert_eq!(observed.overlapping(&cidr).map(|(link, _)| link.name.as_str()), Some("eth0"));
}
