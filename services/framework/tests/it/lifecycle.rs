//! Units from start to end.

use std::{fs, time::Duration};

use acp_wire_api::{
    Empty,
    framework::{GetHost, ListUnits, RestartUnit, SignalUnit, SignalUnitRequest, StartUnit, StopUnit, UnitRequest},
};
use acp_wire_model::unit::UnitState;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    harness::{Node, request, signal, status},
    play::{LIVELY, MODE, SILENT},
};

fn named(name: &str) -> UnitRequest {
    UnitRequest { name: name.into() }
}

#[tokio::test]
async fn everything_starts_in_order_and_a_shutdown_leaves_nothing() {
    let Some(mut node) = Node::start("everything_starts_in_order_and_a_shutdown_leaves_nothing").await else { return };
    let units = node.call::<ListUnits>(Empty {}).await.expect("it answers").units;
    let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["cluster", "network", "storage", "hypervisor"]);
    let host = node.call::<GetHost>(Empty {}).await.expect("it answers");
    assert_eq!(host.node, "n1");
    assert!(["v1", "v2", "hybrid"].contains(&host.cgroups.as_str()), "{host:?}");
    let guest = node.script("script", "g", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done").await;
    node.wait_log("script@g", "up\n").await;
    assert_eq!(guest.meta.state, UnitState::Ready);
    assert_eq!(node.shut_down(), Some(0));
    assert_eq!(node.log("script@g"), "up\nbye\n");
    assert_eq!(node.log("cluster"), "cluster begins\ncluster ends\n");
    assert_eq!(node.processes(), [] as [u32; 0]);
    let records = fs::read_dir(node.path("state/framework/units")).expect("readable").count();
    assert_eq!(records, 0, "nothing is left to be adopted");
}

#[tokio::test]
async fn units_are_who_their_template_says() {
    let Some(node) = Node::start("units_are_who_their_template_says").await else { return };
    let network = node.unit("network").await.expect("it runs");
    let pid = network.meta.pid.expect("it has a process");
    let uid = network.meta.uid.to_string();
    assert_eq!(status(pid, "Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(status(pid, "CapEff"), format!("{:016x}", 1 << 12));
    assert_eq!(status(pid, "CapBnd"), format!("{:016x}", 1 << 12));
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    let storage = node.unit("storage").await.expect("it runs").meta.pid.expect("it has a process");
    assert_eq!(status(storage, "CapEff"), "0".repeat(16));
    assert_eq!(status(storage, "Groups"), "");
    // Units of one system share a user, those of another do not.
    let (one, same) =
        (node.script("script", "s1", "exec sleep 1000").await, node.script("again", "s1", "exec sleep 1000").await);
    let other = node.script("script", "s2", "exec sleep 1000").await;
    assert_eq!(one.meta.uid, same.meta.uid);
    assert_ne!(one.meta.uid, other.meta.uid);
}

#[tokio::test]
async fn operators_stop_start_and_restart() {
    let Some(mut node) = Node::start("operators_stop_start_and_restart").await else { return };
    let before = node.unit("cluster").await.expect("it runs");
    let stopped = node.call::<StopUnit>(named("cluster")).await.expect("it stops").unit;
    assert_eq!((stopped.meta.state, stopped.meta.pid), (UnitState::Stopped, None));
    assert_eq!(stopped.meta.exit.as_ref().and_then(|exit| exit.status), Some(0));
    let started = node.call::<StartUnit>(named("cluster")).await.expect("it starts").unit;
    assert_eq!(started.meta.state, UnitState::Ready);
    assert_eq!(started.uid, before.uid, "it is the same unit");
    let again = node.call::<RestartUnit>(named("cluster")).await.expect("it restarts").unit;
    assert_eq!(again.meta.state, UnitState::Ready);
    assert_ne!(again.meta.pid, started.meta.pid);
    assert_eq!(again.meta.restarts, 0, "what was asked for is no unplanned restart");
    // What requires a stopped unit says so instead of waiting for ever.
    node.call::<StopUnit>(named("network")).await.expect("it stops");
    node.call::<StopUnit>(named("hypervisor")).await.expect("it stops");
    let waiting = node.call::<StartUnit>(named("hypervisor")).await.expect("an answer").unit;
    assert_eq!(waiting.meta.state, UnitState::Waiting);
    assert_eq!(waiting.meta.reason, "waits for network, which is stopped");
    // A shutdown does not wait for it either: nothing is heard of a unit that ends without a process.
    let start = Instant::now();
    assert_eq!(node.shut_down(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_killed_unit_comes_back() {
    let Some(node) = Node::start("a_killed_unit_comes_back").await else { return };
    let before = node.unit("storage").await.expect("it runs").meta.pid.expect("it has a process");
    signal(before, Signal::KILL);
    let unit = node.wait_unit("storage", |unit| unit.meta.restarts == 1 && unit.meta.state == UnitState::Ready).await;
    assert_ne!(unit.meta.pid, Some(before));
    assert_eq!(unit.meta.exit.and_then(|exit| exit.signal), Some(9));
}

#[tokio::test]
async fn the_exit_code_contract_holds() {
    let Some(node) = Node::start("the_exit_code_contract_holds").await else { return };
    node.script("again", "c", "exit 78").await;
    let unit = node.wait_state("again@c", UnitState::Failed).await;
    assert_eq!(
        unit.meta.reason,
        "ended with status 78: its configuration or its files have to be mended; its log says what"
    );
    assert_eq!(unit.meta.restarts, 0);
    node.script("again", "t", "exit 75").await;
    let unit = node.wait_unit("again@t", |unit| unit.meta.restarts >= 2).await;
    assert_eq!(unit.meta.exit.and_then(|exit| exit.status), Some(75));
    node.script("script", "n", "exit 3").await;
    let unit = node.wait_state("script@n", UnitState::Failed).await;
    assert_eq!((unit.meta.reason.as_str(), unit.meta.restarts), ("ended with status 3", 0));
    assert_eq!(node.remove("script@n").await.expect("it was listed").meta.exit.and_then(|exit| exit.status), Some(3));
    assert!(node.unit("script@n").await.is_err());
}

#[tokio::test]
async fn a_frozen_unit_is_replaced() {
    let Some(node) = Node::start("a_frozen_unit_is_replaced").await else { return };
    for (instance, mode) in [("l", LIVELY), ("s", SILENT)] {
        let mut lively = request("play", instance);
        lively.environment.insert(MODE.into(), mode.into());
        node.spawn_with(lively, Vec::new()).await.expect("it runs");
    }
    node.wait_unit("play@s", |unit| unit.meta.restarts >= 1).await;
    let lively = node.wait_state("play@l", UnitState::Ready).await;
    assert_eq!(lively.meta.restarts, 0, "whoever says that it lives is left alone");
    let frozen = lively.meta.pid.expect("it has a process");
    signal(frozen, Signal::STOP);
    let unit = node.wait_unit("play@l", |unit| unit.meta.restarts == 1 && unit.meta.state == UnitState::Ready).await;
    assert_ne!(unit.meta.pid, Some(frozen));
}

#[tokio::test]
async fn a_unit_that_does_not_stop_is_killed_with_all_it_started() {
    let Some(node) = Node::start("a_unit_that_does_not_stop_is_killed_with_all_it_started").await else { return };
    let script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & echo up; while :; do sleep 0.1; done";
    node.script("script", "x", script).await;
    node.wait_log("script@x", "up\n").await;
    let before = node.processes().len();
    let start = Instant::now();
    let unit = node.remove("script@x").await.expect("it was there");
    assert!(start.elapsed() >= Duration::from_secs(1), "it had its time");
    assert_eq!(unit.meta.reason, "had to be killed: it did not end within 1 s");
    assert_eq!(unit.meta.exit.and_then(|exit| exit.signal), Some(9));
    // The two shells; their sleeps come and go.
    assert!(node.processes().len() + 2 <= before);
    assert_eq!(node.remove("script@x").await, None, "removing what is gone is no error");
}

#[tokio::test]
async fn running_out_of_memory_is_told_apart() {
    let Some(node) = Node::start("running_out_of_memory_is_told_apart").await else { return };
    if !node.call::<GetHost>(Empty {}).await.expect("it answers").controllers.contains(&"memory".to_owned()) {
        eprintln!("skipped: this host has no memory controller");
        return;
    }
    let mut hungry = request("script", "m");
    hungry.arguments = vec!["exec tail /dev/zero".into()];
    hungry.limits.memory_bytes = Some(16 << 20);
    node.spawn_with(hungry, Vec::new()).await.expect("it runs");
    let unit = node.wait_state("script@m", UnitState::Failed).await;
    let exit = unit.meta.exit.expect("it ended");
    assert_eq!((exit.signal, exit.out_of_memory), (Some(9), true));
    assert_eq!(unit.meta.reason, "was killed by the kernel because its memory limit was reached");
    let killed = node.script("script", "k", "exec sleep 1000").await;
    signal(killed.meta.pid.expect("it runs"), Signal::KILL);
    let exit = node.wait_state("script@k", UnitState::Failed).await.meta.exit.expect("it ended");
    assert_eq!((exit.signal, exit.out_of_memory), (Some(9), false), "killed, not out of memory");
}

#[tokio::test]
async fn units_are_signalled_on_request() {
    let Some(node) = Node::start("units_are_signalled_on_request").await else { return };
    node.script("script", "h", "trap 'echo hup' HUP; echo up; while :; do sleep 0.05; done").await;
    node.wait_log("script@h", "up\n").await;
    let request = |signal: &str| SignalUnitRequest { name: "script@h".into(), signal: signal.into() };
    node.call::<SignalUnit>(request("HUP")).await.expect("it is signalled");
    node.wait_log("script@h", "up\nhup\n").await;
    let refused = node.call::<SignalUnit>(request("KILL")).await.expect_err("not this one");
    assert_eq!(refused.message, "signal: \"KILL\" is none of HUP, USR1, USR2");
}
