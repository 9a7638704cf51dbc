//! A node that gets another name.

use std::fs;

use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{Empty, daemon::GetHealth, framework::GetHost};
use acp_wire_model::unit::UnitState;

use crate::{
    harness::{LIMIT, Node},
    peers::Peers,
};

const DAEMONS: [&str; 4] = ["cluster", "network", "storage", "hypervisor"];

/// What a unit's process was told that the node is called.
async fn told(node: &Node, unit: &str) -> Option<String> {
    let pid = node.unit(unit).await.ok()?.meta.pid?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let environment = String::from_utf8_lossy(&environment).into_owned();
    environment.split('\0').find_map(|line| line.strip_prefix("ACP_NODE=")).map(str::to_owned)
}

async fn pids(node: &Node) -> Vec<Option<u32>> {
    let mut pids = Vec::new();
    for daemon in DAEMONS {
        pids.push(node.unit(daemon).await.expect("known").meta.pid);
    }
    pids
}

#[tokio::test]
async fn daemons_are_started_again_under_the_new_name_once_the_database_has_it() {
    let test = "daemons_are_started_again_under_the_new_name_once_the_database_has_it";
    let Some(mut node) = Node::start(test).await else { return };
    let guest = node.script("script", "g", "exec sleep 1000").await;
    let (peers, before) = (Peers::start(&node, &[]), pids(&node).await);
    peers.tell("a1", &[]);
    let asked = async || seen(peers.asked(), |times| *times >= 2);
    wait_for_async("the database to be asked again", LIMIT, asked).await.expect("the name is waited for");
    assert_eq!(node.call::<GetHost>(Empty {}).await.expect("it answers").node, "n1");
    assert_eq!(pids(&node).await, before, "the cluster service would take the node for another one");

    peers.call("a1");
    for daemon in DAEMONS {
        let look = async || seen(told(&node, daemon).await, |name| name.as_deref() == Some("a1"));
        wait_for_async(&format!("the new name of {daemon}'s node"), LIMIT, look).await.expect("it is told");
        node.wait_state(daemon, UnitState::Ready).await;
    }
    assert_eq!(node.call::<GetHost>(Empty {}).await.expect("it answers").node, "a1");
    let health = node.call::<GetHealth>(Empty {}).await.expect("it answers");
    assert_eq!(health.node, "a1", "the framework itself, which is not started again");
    let after = pids(&node).await;
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    let goes_on = node.unit("script@g").await.expect("known");
    assert_eq!((goes_on.meta.state, goes_on.meta.pid), (UnitState::Ready, guest.meta.pid));

    drop(peers);
    node.crash();
    node.boot().await;
    assert_eq!(node.call::<GetHost>(Empty {}).await.expect("it answers").node, "a1", "it is kept");
    assert_eq!(pids(&node).await, after, "and nothing is started again for it");
}

#[tokio::test]
async fn a_framework_that_ends_between_two_daemons_goes_on_with_the_next() {
    let Some(mut node) = Node::start("a_framework_that_ends_between_two_daemons_goes_on_with_the_next").await else {
        return;
    };
    let peers = Peers::start(&node, &[]);
    peers.call("a1");
    peers.tell("a1", &[]);
    let first = async || seen(told(&node, "cluster").await, |name| name.as_deref() == Some("a1"));
    wait_for_async("the first daemon's new name", LIMIT, first).await.expect("it is told");
    node.crash();
    drop(peers);
    node.boot_after_crash().await;
    for daemon in DAEMONS {
        let look = async || seen(told(&node, daemon).await, |name| name.as_deref() == Some("a1"));
        wait_for_async(&format!("the new name of {daemon}'s node"), LIMIT, look).await.expect("it is told");
    }
}
