//! Taps are made on request, attached, counted and kept attached.

use acp_base::{Code, Uid};
use acp_core_netplan::{Alias, bridge_link, tap_link};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_netlink::{Kind as LinkKind, Link};
use acp_wire_model::{
    Kind, Object,
    network::{NetworkStats, TapMeta},
};
use serde_json::json;

use crate::harness::{LIMIT, Node, on_node};

const SYSTEM: Uid = Uid::from_u128(0x77);
const MAC: &str = "52:54:00:00:00:09";

/// A system with one NIC; `is_quiet`: watchers have not heard of it yet.
pub(crate) fn declare(node: &Node, pinned_to: &str, is_quiet: bool) {
    let nics = json!([{ "network": "lan", "mac": MAC, "address": "10.77.0.9" }]);
    let spec = json!({ "node": pinned_to, "cpus": 1, "memory_bytes": 67_108_864, "nics": nics });
    let name = "demo".to_owned();
    node.cluster.put(Object { kind: Kind::System, name, uid: SYSTEM, version: 1, spec, slots: Vec::new() }, is_quiet);
}

async fn network(node: &Node) -> u32 {
    node.create("lan", "10.77.0.1/24").await.expect("it comes up");
    node.link(&bridge_link(node.uid("lan"))).await.expect("it is there").index
}

/// Waits until taps of the network are reported, and answers them.
async fn wait_tap(node: &Node) -> Vec<TapMeta> {
    let taps = || node.meta(node.uid("lan")).map(|meta| meta.taps).unwrap_or_default();
    wait_for_async("a tap", LIMIT, async || seen(taps(), |taps| !taps.is_empty())).await.expect("it is reported")
}

#[test]
fn a_tap_is_attached_counted_and_gone_with_its_descriptor() {
    on_node(|node| async move {
        let bridge = network(&node).await;
        declare(&node, "test", false);
        let (reply, tap) = node.open_tap(SYSTEM, 0).await.expect("a tap");
        assert_eq!((Some(&reply.link), reply.mac.as_str(), reply.mtu), (tap_link(SYSTEM, 0).as_ref(), MAC, 1500));
        let link = node.link(&reply.link).await.expect("it is there");
        assert_eq!((link.kind, link.master, link.up), (LinkKind::Tap, Some(bridge), true));
        assert_eq!(link.alias, Some(Alias(SYSTEM).to_string()));
        let taps = wait_tap(&node).await;
        assert_eq!((taps[0].system.as_str(), taps[0].nic), ("demo", 0));
        let mut frame = [0xff; 70];
        frame[..10].fill(0);
        frame[16..22].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 9]);
        assert_eq!(rustix::io::write(&tap, &frame).expect("the tap takes a frame"), frame.len());
        let is_counted = |stats: &NetworkStats| stats.links[0].rx_packets > 0;
        let look = async || seen(node.stats(SYSTEM), |stats| stats.as_ref().is_some_and(is_counted));
        let counted = wait_for_async("the frame", LIMIT, look).await.expect("it is counted");
        assert_eq!(counted.expect("it is reported").links[0].link, reply.link);
        drop(tap);
        let gone = async || seen((node.link(&reply.link).await, node.stats(SYSTEM)), |left| *left == (None, None));
        wait_for_async("the end of the tap", LIMIT, gone).await.expect("it went with its descriptor");
    });
}

#[test]
fn a_tap_held_by_a_process_on_its_way_out_is_waited_for() {
    on_node(|node| async move {
        network(&node).await;
        declare(&node, "test", false);
        let (_reply, first) = node.open_tap(SYSTEM, 0).await.expect("a tap");
        let release = async {
            assert_eq!(wait_tap(&node).await.len(), 1);
            drop(first);
        };
        let (second, ()) = tokio::join!(node.open_tap(SYSTEM, 0), release);
        second.expect("the first let go of it");
    });
}

#[test]
fn a_system_that_watchers_have_not_heard_of_gets_its_tap() {
    on_node(|node| async move {
        network(&node).await;
        declare(&node, "test", true);
        let (reply, _tap) = node.open_tap(SYSTEM, 0).await.expect("it is read from the cluster service");
        assert!(node.link(&reply.link).await.is_some_and(|link| link.master.is_some()));
    });
}

#[test]
fn taps_survive_a_restart_and_follow_a_bridge_that_was_made_anew() {
    on_node(|mut node| async move {
        network(&node).await;
        declare(&node, "test", false);
        let (reply, _tap) = node.open_tap(SYSTEM, 0).await.expect("a tap");
        let before = node.link(&reply.link).await.expect("it is there");
        node.stop().await;
        let stopped = node.link(&reply.link).await.expect("it is there");
        assert_eq!((stopped.index, stopped.master, stopped.up), (before.index, before.master, true));
        node.start();
        let name = bridge_link(node.uid("lan"));
        crate::harness::ip(&["link", "delete", &name]);
        let links = async || node.link(&name).await.map(|bridge| bridge.index).zip(node.link(&reply.link).await);
        let is_attached = |(bridge, tap): &(u32, Link)| tap.master == Some(*bridge) && tap.index == before.index;
        let look = async || seen(links().await, |links| links.as_ref().is_some_and(is_attached));
        wait_for_async("the tap and the new bridge", LIMIT, look).await.expect("it is attached again");
    });
}

/// Says that the declared system runs, or does not.
fn report(node: &Node, state: &str) {
    let nics = json!([{ "network": "lan", "mac": MAC, "address": "10.77.0.9" }]);
    let spec = json!({ "node": "test", "cpus": 1, "memory_bytes": 67_108_864, "nics": nics });
    let data = json!({ "state": state, "intent": "on", "node": "test", "since_ms": 1 });
    let facet = acp_wire_model::object::Facet::Meta;
    let reporter = "hypervisor@test".to_owned();
    let slot = acp_wire_model::object::Slot { reporter, facet, incarnation: 1, sequence: 1, age_ms: 0, data };
    let object =
        Object { kind: Kind::System, name: "demo".to_owned(), uid: SYSTEM, version: 1, spec, slots: vec![slot] };
    node.cluster.put(object, false);
}

#[test]
fn a_tap_that_somebody_removed_is_told_while_its_system_runs() {
    on_node(|node| async move {
        network(&node).await;
        declare(&node, "test", false);
        let (reply, tap) = node.open_tap(SYSTEM, 0).await.expect("a tap");
        report(&node, "running");
        wait_tap(&node).await;
        crate::harness::ip(&["link", "delete", &reply.link]);
        let reason = || node.meta(node.uid("lan")).map(|meta| meta.reason).unwrap_or_default();
        let is_told = |reason: &String| reason.contains(&reply.link) && reason.contains("system demo");
        wait_for_async("word of the lost tap", LIMIT, async || seen(reason(), is_told)).await.expect("it is told");
        drop(tap);
        report(&node, "stopped");
        node.wait_up(node.uid("lan")).await;
    });
}

#[test]
fn what_the_specs_do_not_name_gets_no_tap() {
    on_node(|node| async move {
        let unknown = node.open_tap(SYSTEM, 0).await.expect_err("there is no such system");
        assert_eq!(unknown.code, Code::NotFound);
        declare(&node, "test", false);
        let lost = node.open_tap(SYSTEM, 0).await.expect_err("there is no such network");
        assert!(lost.message.contains("there is no network lan"), "{lost}");
        network(&node).await;
        let beyond = node.open_tap(SYSTEM, 7).await.expect_err("it has one NIC");
        assert!(beyond.message.contains("has 1 network interfaces"), "{beyond}");
        declare(&node, "elsewhere", false);
        let elsewhere = node.open_tap(SYSTEM, 0).await.expect_err("it is pinned to another node");
        assert_eq!(elsewhere.code, Code::FailedPrecondition);
        assert!(node.links().await.iter().all(|link| link.kind != LinkKind::Tap));
    });
}

#[test]
fn a_foreign_link_with_the_name_of_a_tap_is_left_alone() {
    on_node(|node| async move {
        network(&node).await;
        declare(&node, "test", false);
        let name = tap_link(SYSTEM, 0).expect("it has few NICs");
        crate::harness::ip(&["tuntap", "add", "dev", &name, "mode", "tap"]);
        let before = node.link(&name).await.expect("it is there").index;
        let clash = node.open_tap(SYSTEM, 0).await.expect_err("the name is taken");
        assert!(clash.message.contains("ACP did not make"), "{clash}");
        let after = node.link(&name).await.expect("it is there");
        assert_eq!((after.index, after.alias, after.master), (before, None, None));
    });
}
