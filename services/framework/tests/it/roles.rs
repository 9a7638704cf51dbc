//! A node whose roles change.

use acp_base::Code;
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    Empty,
    daemon::GetHealth,
    framework::{StartUnit, UnitRequest},
};
use acp_wire_model::unit::UnitState;

use crate::{
    harness::{LIMIT, Node, request},
    peers::Peers,
};

/// What a node without systems does without.
const COMPUTE: [&str; 3] = ["hypervisor", "network", "storage"];

async fn wait_health(node: &Node, what: &str, wanted: impl Fn(&str) -> bool) {
    let look = async || {
        let health = node.call::<GetHealth>(Empty {}).await.expect("it answers");
        seen(health.reason, |reason| wanted(reason))
    };
    wait_for_async(what, LIMIT, look).await.expect("it says so");
}

#[tokio::test]
async fn a_role_takes_daemons_away_in_order_and_gives_them_back() {
    let Some(node) = Node::start("a_role_takes_daemons_away_in_order_and_gives_them_back").await else { return };
    let made = node.spawn_with(request("worker", "w"), Vec::new()).await.expect("it runs");
    let peers = Peers::start(&node, &COMPUTE);
    let hypervisor = node.wait_state("hypervisor", UnitState::Stopped).await;
    assert_eq!(hypervisor.meta.reason, "no role of this node names it");
    for name in ["network", "storage"] {
        let needed = node.wait_state(name, UnitState::Stopped).await;
        assert!(needed.meta.since_ms >= hypervisor.meta.since_ms, "{name} is stopped after what requires it");
    }
    assert_eq!(node.unit("cluster").await.expect("known").meta.state, UnitState::Ready, "no role names it");
    let forgotten = async || seen(node.unit("worker@w").await, Result::is_err);
    let gone =
        wait_for_async("the end of what storage has made", LIMIT, forgotten).await.expect("it goes with its owner");
    assert_eq!(gone.expect_err("it is forgotten").code, Code::NotFound);
    assert!(!node.processes().contains(&made.meta.pid.expect("it ran")));
    assert!(!node.path("run/hypervisor.sock").exists(), "nobody is let wait there");

    let start = node.call::<StartUnit>(UnitRequest { name: "hypervisor".into() }).await;
    assert_eq!(start.expect_err("no role").code, Code::FailedPrecondition);
    let spawn = node.spawn_with(request("worker", "w"), Vec::new()).await;
    assert_eq!(spawn.expect_err("nobody would mend it").code, Code::FailedPrecondition);

    peers.tell("n1", &[]);
    for name in COMPUTE {
        node.wait_state(name, UnitState::Ready).await;
    }
    assert!(node.path("run/hypervisor.sock").exists());
}

#[tokio::test]
async fn what_was_known_last_counts_when_nobody_can_be_asked() {
    let Some(mut node) = Node::start("what_was_known_last_counts_when_nobody_can_be_asked").await else { return };
    let peers = Peers::start(&node, &COMPUTE);
    node.wait_state("storage", UnitState::Stopped).await;
    drop(peers);
    node.crash();
    node.boot_after_crash().await;
    node.wait_state("cluster", UnitState::Ready).await;
    assert_eq!(node.unit("hypervisor").await.expect("known").meta.state, UnitState::Stopped, "after a crash");

    assert_eq!(node.shut_down(), Some(0));
    node.boot_after_crash().await;
    node.wait_state("cluster", UnitState::Ready).await;
    for name in COMPUTE {
        let unit = node.unit(name).await.expect("known");
        assert_eq!((unit.meta.state, unit.meta.pid), (UnitState::Stopped, None), "{name} after the node was off");
        assert_eq!(node.log(name), "", "{name}");
    }

    let peers = Peers::start(&node, &["network"]);
    for name in COMPUTE {
        node.wait_state(name, UnitState::Ready).await;
    }
    let required = "network goes on although no role of this node names it: hypervisor requires it";
    wait_health(&node, "why a unit goes on", |reason| reason.contains(required)).await;

    drop(peers);
    assert_eq!(node.shut_down(), Some(0));
    std::fs::write(node.path("state/framework/node.json"), "{").expect("damaged");
    node.boot().await;
    wait_health(&node, "that nothing is known", |reason| !reason.contains("no role")).await;
}

#[tokio::test]
async fn a_daemon_whose_systems_run_is_not_taken_away() {
    let Some(mut node) = Node::start("a_daemon_whose_systems_run_is_not_taken_away").await else { return };
    let guest = node.script("script", "g", "exec sleep 1000").await;
    let _peers = Peers::start(&node, &COMPUTE);
    let kept = "hypervisor goes on although no role of this node names it: units of systems that run: 1";
    wait_health(&node, "why the hypervisor goes on", |reason| reason.contains(kept)).await;
    for name in COMPUTE {
        assert_eq!(node.unit(name).await.expect("known").meta.state, UnitState::Ready, "{name}");
    }
    node.crash();
    node.boot().await;
    wait_health(&node, "it, after a crash", |reason| reason.contains(kept)).await;
    assert_eq!(node.unit("script@g").await.expect("known").meta.pid, guest.meta.pid);

    node.remove("script@g").await;
    for name in COMPUTE {
        node.wait_state(name, UnitState::Stopped).await;
    }
    wait_health(&node, "that all is as the roles say", |reason| !reason.contains("no role")).await;
}
