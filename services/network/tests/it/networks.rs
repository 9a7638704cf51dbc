//! Networks come up, are repaired, and go.

use std::net::Ipv4Addr;

use acp_base::{Change, Code, Uid};
use acp_core_netplan::{Alias, bridge_link};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_netlink::{Kind as LinkKind, Link};
use acp_wire_model::{
    Kind, Object,
    network::{NetworkMeta, NetworkState, NetworkStats},
    unit::UnitState,
};
use serde_json::json;

use crate::harness::{LIMIT, Node, ip, on_node, read};

const UID: Uid = Uid::from_u128(0x42);

/// A declared network that did not come by this daemon.
fn declare(node: &Node, uid: Uid, name: &str, address: &str) {
    let spec = json!({ "address": address });
    node.cluster
        .put(Object { kind: Kind::Network, name: name.to_owned(), uid, version: 1, spec, slots: Vec::new() }, false);
}

/// Waits until there is such a link, as wanted.
async fn wait_link(node: &Node, name: &str, is_wanted: impl Fn(&Link) -> bool) {
    let look = async || seen(node.link(name).await, |link| link.as_ref().is_some_and(&is_wanted));
    wait_for_async("the link", LIMIT, look).await.expect("it is put right");
}

/// Waits until what is reported of a network is as wanted, and answers it.
async fn wait_meta(node: &Node, uid: Uid, is_wanted: impl Fn(&Option<NetworkMeta>) -> bool) -> Option<NetworkMeta> {
    wait_for_async("the network's state", LIMIT, async || seen(node.meta(uid), &is_wanted))
        .await
        .expect("it is reported")
}

#[test]
fn a_network_is_up_when_its_creation_answers() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let uid = node.uid("lan");
        let bridge = node.link(&bridge_link(uid)).await.expect("its bridge is there");
        assert_eq!((bridge.kind, bridge.up), (LinkKind::Bridge, true));
        assert_eq!(bridge.alias, Some(Alias(uid).to_string()));
        assert_eq!(bridge.addresses, [(Ipv4Addr::new(10, 77, 0, 1), 24)]);
        assert_eq!(read("/proc/sys/net/ipv4/ip_forward"), "1");
        assert_eq!(read(format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", bridge.name)), "1");
        node.wait_up(uid).await;
        let meta = node.meta(uid).expect("it is reported");
        assert_eq!((meta.link, meta.reason.as_str()), (bridge.name.clone(), ""));
        let unit = node.framework.unit(uid).expect("its DHCP server was asked for");
        assert!(unit.arguments.contains(&format!("--interface={}", bridge.name)), "{unit:?}");
        let is_counted = |stats: &NetworkStats| stats.links[0].link == bridge.name;
        let look = async || seen(node.stats(uid), |stats| stats.as_ref().is_some_and(is_counted));
        wait_for_async("the network's counters", LIMIT, look).await.expect("they are reported");
    });
}

#[test]
fn a_second_life_changes_nothing() {
    on_node(|mut node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let uid = node.uid("lan");
        node.wait_up(uid).await;
        node.stop().await;
        let before = node.links().await.into_iter().map(|link| (link.index, link.name, link.alias)).collect::<Vec<_>>();
        let changes = node.changes();
        assert!(changes.len() >= 2, "{changes:?}");
        node.cluster.forget_slots();
        node.start();
        node.wait_up(uid).await;
        let after = node.links().await.into_iter().map(|link| (link.index, link.name, link.alias)).collect::<Vec<_>>();
        assert_eq!(before, after);
        assert_eq!(node.changes(), changes);
    });
}

#[test]
fn a_bridge_deleted_behind_our_back_comes_back() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let name = bridge_link(node.uid("lan"));
        let first = node.link(&name).await.expect("it is there").index;
        ip(&["link", "delete", &name]);
        let is_whole =
            |link: &Link| link.index != first && link.up && link.addresses.len() == 1 && link.alias.is_some();
        wait_link(&node, &name, is_whole).await;
    });
}

#[test]
fn an_address_changed_behind_our_back_is_put_right() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let name = bridge_link(node.uid("lan"));
        ip(&["address", "flush", "dev", &name]);
        ip(&["address", "add", "10.99.0.1/24", "dev", &name]);
        ip(&["link", "set", &name, "down"]);
        wait_link(&node, &name, |link| link.up && link.addresses == [(Ipv4Addr::new(10, 77, 0, 1), 24)]).await;
    });
}

#[test]
fn a_foreign_link_of_our_name_is_reported_and_left_alone() {
    on_node(|node| async move {
        let name = bridge_link(UID);
        ip(&["link", "add", &name, "type", "bridge"]);
        let before = node.link(&name).await;
        declare(&node, UID, "lan", "10.77.0.1/24");
        let meta = wait_meta(&node, UID, Option::is_some).await.expect("it is reported");
        assert_eq!(meta.state, NetworkState::Degraded);
        assert!(meta.reason.contains(&format!("ip link delete {name}")), "{}", meta.reason);
        assert_eq!(
            node.link(&name).await.map(|link| (link.index, link.alias, link.up)),
            before.map(|link| (link.index, None, false))
        );
        ip(&["link", "delete", &name]);
        node.wait_up(UID).await;
    });
}

#[test]
fn a_creation_that_cannot_succeed_is_taken_back() {
    on_node(|node| async move {
        ip(&["link", "add", &bridge_link(UID), "type", "bridge"]);
        node.cluster.set_next_uid(UID);
        let failure = node.create("lan", "10.77.0.1/24").await.expect_err("its name is taken");
        assert_eq!((failure.code, failure.changed), (Code::FailedPrecondition, Change::None));
        assert!(failure.message.starts_with("network lan was not created: a link acpb"), "{failure}");
        assert!(node.cluster.find(Kind::Network, "lan").is_none());
    });
}

#[test]
fn bad_input_changes_nothing() {
    on_node(|node| async move {
        for (address, reason) in [
            ("10.77.0.1", "lacks the prefix length"),
            ("10.77.0.0/24", "the address of the subnet itself"),
            ("10.77.0.1/99", "is no prefix length"),
            ("127.0.0.1/8", "is a loopback address"),
        ] {
            let failure = node.create("lan", address).await.expect_err(address);
            assert_eq!(failure.code, Code::InvalidArgument);
            assert!(failure.message.contains(reason), "{failure}");
        }
        ip(&["link", "add", "uplink", "type", "bridge"]);
        ip(&["address", "add", "10.77.3.4/16", "dev", "uplink"]);
        let message = node.create("lan", "10.77.0.1/24").await.expect_err("it overlaps").message;
        assert!(message.contains("10.77.0.1/24 overlaps 10.77.3.4/16 of this node's link uplink"), "{message}");
        assert!(node.cluster.find(Kind::Network, "lan").is_none());
    });
}

#[test]
fn deleting_leaves_nothing() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        node.create("inner", "10.78.0.1/24").await.expect("it comes up");
        let (lan, inner) = (node.uid("lan"), node.uid("inner"));
        node.delete("lan").await.expect("nobody uses it");
        assert_eq!(node.link(&bridge_link(lan)).await, None);
        assert_eq!(node.framework.unit(lan), None);
        assert!(node.link(&bridge_link(inner)).await.is_some() && node.framework.unit(inner).is_some());
        wait_meta(&node, lan, Option::is_none).await;
        let again = node.delete("lan").await.expect_err("it is gone");
        assert_eq!(again.code, Code::NotFound);
    });
}

#[test]
fn a_network_in_use_stays() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let name = bridge_link(node.uid("lan"));
        node.cluster.refuse_delete(true);
        let failure = node.delete("lan").await.expect_err("a system uses it");
        assert!(failure.message.contains("a system uses it"), "{failure}");
        node.cluster.refuse_delete(false);
        ip(&["link", "add", "mine", "type", "veth", "peer", "name", "other"]);
        ip(&["link", "set", "mine", "master", &name]);
        let message = node.delete("lan").await.expect_err("a link is attached").message;
        assert!(message.contains("link mine is attached to its bridge"), "{message}");
        assert!(node.link(&name).await.is_some());
    });
}

#[test]
fn a_dhcp_server_that_fails_degrades_its_network() {
    on_node(|node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let uid = node.uid("lan");
        node.framework.lose_units();
        let unit = async || seen(node.framework.unit(uid), Option::is_some);
        wait_for_async("the DHCP server", LIMIT, unit).await.expect("it is asked for again");
        node.framework.keep_in(UnitState::Backoff);
        let degraded =
            |meta: &Option<NetworkMeta>| meta.as_ref().is_some_and(|meta| meta.state == NetworkState::Degraded);
        let meta = wait_meta(&node, uid, degraded).await.expect("it is reported");
        assert_eq!(meta.reason, "DHCP: its unit is backoff");
        node.framework.keep_in(UnitState::Ready);
        node.wait_up(uid).await;
    });
}

#[test]
fn units_and_bridges_of_networks_that_ended_unseen_are_removed() {
    on_node(|mut node| async move {
        node.create("lan", "10.77.0.1/24").await.expect("it comes up");
        let uid = node.uid("lan");
        node.stop().await;
        node.cluster.remove(uid);
        node.start();
        let left = async || (node.framework.unit(uid), node.link(&bridge_link(uid)).await);
        let gone = async || seen(left().await, |left| *left == (None, None));
        wait_for_async("the end of unit and bridge", LIMIT, gone).await.expect("they are removed");
    });
}
