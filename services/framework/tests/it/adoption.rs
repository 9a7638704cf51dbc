//! What survives the framework and the shim.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use acp_dev_wait::{seen, wait_for};
use acp_wire_api::framework::{StopUnit, UnitRequest};
use acp_wire_model::unit::UnitState;
use rustix::process::Signal;
use tokio::time::Instant;

use crate::{
    harness::{LIMIT, Node, parent, request, signal, status},
    play::{LIVELY, MODE},
};

#[tokio::test]
async fn units_run_on_and_are_adopted_when_the_framework_crashes() {
    let Some(mut node) = Node::start("units_run_on_and_are_adopted_when_the_framework_crashes").await else { return };
    node.call::<StopUnit>(UnitRequest { name: "storage".into() }).await.expect("it stops");
    let cluster = node.unit("cluster").await.expect("it runs");
    let guest = node.script("script", "g", "exec sleep 1000").await;
    let ended = node.script("script", "e", "read line; exit 3").await;
    assert_eq!(ended.meta.exit, None, "standard input is empty, so it ends when it likes");
    node.script("script", "k", "exec sleep 1000").await;
    let killed = node.unit("script@k").await.expect("it runs").meta.pid.expect("it has a process");
    node.crash();
    signal(killed, Signal::KILL);
    node.boot_after_crash().await;
    let adopted = node.unit("cluster").await.expect("it is known");
    assert_eq!((adopted.uid, &adopted.meta), (cluster.uid, &cluster.meta), "nothing changed for it");
    let adopted = node.unit("script@g").await.expect("it is known");
    assert_eq!((adopted.uid, adopted.meta.pid, adopted.meta.uid), (guest.uid, guest.meta.pid, guest.meta.uid));
    let exit = node.wait_state("script@e", UnitState::Failed).await.meta.exit.expect("it ended");
    assert_eq!(exit.status, Some(3));
    let exit = node.wait_state("script@k", UnitState::Failed).await.meta.exit.expect("it was recorded by its shim");
    assert_eq!((exit.signal, exit.lost), (Some(9), false));
    let stopped = node.unit("storage").await.expect("it is known");
    assert_eq!(stopped.meta.state, UnitState::Stopped, "what an operator stopped stays stopped");
    // An adopted unit is watched like any other.
    signal(cluster.meta.pid.expect("it runs"), Signal::KILL);
    node.wait_unit("cluster", |unit| unit.meta.restarts == 1 && unit.meta.state == UnitState::Ready).await;
}

/// What each thread of a process does, as in `/proc`.
fn thread_states(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| task.file_name().to_str()?.parse().ok())
        .map(|thread: u32| status(thread, "State"))
        .collect()
}

#[tokio::test]
async fn a_socket_outlives_unit_and_framework() {
    let Some(mut node) = Node::start("a_socket_outlives_unit_and_framework").await else { return };
    let mut lively = request("play", "p");
    lively.environment.insert(MODE.into(), LIVELY.into());
    node.spawn_with(lively, Vec::new()).await.expect("it runs");
    let ask = |mut stream: UnixStream| {
        stream.set_read_timeout(Some(LIMIT)).expect("set");
        stream.write_all(b"?").expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_bytes| answer)
    };
    let connect = || UnixStream::connect(node.path("run/play/p.sock"));
    let first = ask(connect().expect("it listens")).expect("an answer");
    node.crash();
    let connect = || UnixStream::connect(node.path("run/play/p.sock"));
    assert_eq!(ask(connect().expect("it listens")).expect("an answer"), first, "without a framework, too");
    node.boot_after_crash().await;
    let pid = node.wait_state("play@p", UnitState::Ready).await.meta.pid.expect("it runs");
    signal(pid, Signal::STOP);
    let stand_still = |states: &Vec<String>| states.iter().all(|state| state.starts_with('T'));
    wait_for("every thread to stand still", LIMIT, || seen(thread_states(pid), stand_still)).expect("they are stopped");
    let connect = || UnixStream::connect(node.path("run/play/p.sock"));
    let early = connect().expect("a frozen unit's socket takes calls");
    signal(pid, Signal::KILL);
    let answer = tokio::task::spawn_blocking(move || ask(early)).await.expect("no panic");
    assert_ne!(answer.expect("the call waited for the successor"), first);
}

#[tokio::test]
async fn a_lost_shim_is_told_within_a_second_and_the_unit_goes_on() {
    let Some(node) = Node::start("a_lost_shim_is_told_within_a_second_and_the_unit_goes_on").await else { return };
    let unit = node.script("script", "s", "exec sleep 1000").await;
    let pid = unit.meta.pid.expect("it runs");
    signal(parent(pid), Signal::KILL);
    let start = Instant::now();
    let unit = node.wait_unit("script@s", |unit| !unit.meta.reason.is_empty()).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((unit.meta.state, unit.meta.pid), (UnitState::Ready, Some(pid)));
    assert!(unit.meta.reason.starts_with("its shim was lost"), "{}", unit.meta.reason);
    let start = Instant::now();
    signal(pid, Signal::KILL);
    let unit = node.wait_state("script@s", UnitState::Failed).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(unit.meta.exit.is_some_and(|exit| exit.lost));
    assert_eq!(unit.meta.reason, "ended, and how is not known because its shim was lost");
}

#[tokio::test]
async fn a_node_comes_back_after_everything_was_killed() {
    let Some(mut node) = Node::start("a_node_comes_back_after_everything_was_killed").await else { return };
    node.script("script", "g", "exec sleep 1000").await;
    node.crash();
    node.kill_processes();
    node.boot().await;
    let guest = node.wait_state("script@g", UnitState::Failed).await;
    assert!(guest.meta.exit.is_some(), "{guest:?}");
    assert_eq!(node.unit("cluster").await.expect("it runs").meta.state, UnitState::Ready);
}
