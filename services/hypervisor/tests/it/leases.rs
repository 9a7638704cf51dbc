//! Systems that run under a lease.

use std::time::Duration;

use acp_base::{Failure, Uid};
use acp_core_lease::Fact;
use acp_wire_api::hypervisor::{CreateSystemRequest, StartSystem, StopSystem};
use acp_wire_model::system::{PowerIntent, SystemState};

use crate::{
    fakes::{HERE, THERE},
    node::{Node, create_request, request},
};

async fn floating(node: &Node) -> Uid {
    let created = node.call_create(CreateSystemRequest { floating: true, ..create_request() }).await.expect("declared");
    node.wait_for_job(created.job).await.expect("its disk is made");
    created.uid
}

fn set(node: &Node, uid: Uid, holder: Option<Uid>, term: u64) {
    node.world.change(|state| {
        state.leases.insert(uid, Fact { holder, term });
    });
}

fn fact(node: &Node, uid: Uid) -> Option<Fact> {
    node.world.lock().leases.get(&uid).copied()
}

fn position(calls: &[String], label: &str) -> usize {
    calls.iter().position(|call| call.starts_with(label)).unwrap_or_else(|| panic!("{label} was not called: {calls:?}"))
}

#[tokio::test]
async fn a_start_gets_its_lease_first_and_tells_the_monitor_before_the_guest_runs() {
    let node = Node::start().await;
    let uid = floating(&node).await;
    assert!(!node.world.was_called("RenewSession"), "nothing is claimed for what does not run");
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    let calls = node.world.lock().calls.clone();
    assert!(position(&calls, "RenewSession") < position(&calls, "OpenVolume"));
    assert!(position(&calls, "ExtendLease") < position(&calls, "Resume"));
    assert_eq!(fact(&node, uid), Some(Fact { holder: Some(HERE), term: 1 }));
    let first = node.world.lock().extended[0];
    assert_eq!((first.term, first.kill_at_ms - first.pause_at_ms), (1, 1_500), "as the session's times say");
    node.wait("it is extended", |node| {
        node.world.lock().extended.last().is_some_and(|last| last.pause_at_ms > first.pause_at_ms)
    })
    .await;

    node.run_job::<StopSystem>(request()).await.expect("it stops");
    node.wait("it is given back", |node| fact(node, uid) == Some(Fact { holder: None, term: 1 })).await;
}

#[tokio::test]
async fn a_start_waits_for_a_lease_that_another_node_has_and_says_so() {
    let node = Node::start().await;
    let uid = floating(&node).await;
    set(&node, uid, Some(THERE), 4);
    let job = node.call::<StartSystem>(request()).await.expect("it begins").job.expect("a job");
    let meta = node.wait_for_meta(uid, |meta| meta.reason.contains("node there has its lease")).await;
    assert_eq!(meta.state, SystemState::Starting);
    assert!(!node.world.was_called("OpenVolume"), "nothing is done before");
    set(&node, uid, None, 4);
    node.wait_for_job(job).await.expect("it starts once it is free");
    assert_eq!(fact(&node, uid), Some(Fact { holder: Some(HERE), term: 5 }));
    assert_eq!(node.wait_for_state(uid, SystemState::Running).await.reason, "");
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_a_lease() {
    let node = Node::start().await;
    let uid = floating(&node).await;
    set(&node, uid, Some(THERE), 4);
    let start = node.call::<StartSystem>(request()).await.expect("it begins").job.expect("a job");
    node.wait_for_meta(uid, |meta| !meta.reason.is_empty()).await;
    node.run_job::<StopSystem>(request()).await.expect("it stops");
    node.wait_for_job(start).await.expect_err("cancelled");
    let meta = node.wait_for_state(uid, SystemState::Stopped).await;
    assert_eq!((meta.intent, meta.reason.as_str()), (PowerIntent::Off, ""));
    assert!(!node.world.was_called("SpawnUnit"));
}

#[tokio::test]
async fn a_guest_whose_lease_is_lost_is_ended_and_comes_back_with_another_term() {
    let node = Node::start().await;
    node.world.change(|state| state.ttl = Some(Duration::from_secs(3)));
    let uid = floating(&node).await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    node.world.fail("RenewSession", Failure::unavailable("no leader"));
    node.wait("QEMU is ended, although its monitor did not", |node| node.world.was_called("RemoveUnit qemu")).await;
    let meta = node.wait_for_meta(uid, |meta| meta.reason.contains("leases cannot be renewed")).await;
    assert_eq!(meta.intent, PowerIntent::On, "it shall run again");
    node.wait("the daemon says so", |node| node.reason().contains("leases cannot be renewed")).await;
    node.world.mend();
    node.wait("QEMU is spawned again", |node| node.world.count("SpawnUnit qemu") == 2).await;
    node.wait_for_meta(uid, |meta| meta.state == SystemState::Running && meta.reason.is_empty()).await;
    let last = *node.world.lock().extended.last().expect("it was told");
    assert!(last.term > 1, "{last:?}");
    node.wait("all is well", |node| node.reason().is_empty()).await;
}

#[tokio::test]
async fn a_lease_that_another_node_has_got_pauses_the_guest_at_once() {
    let node = Node::start().await;
    let uid = floating(&node).await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    set(&node, uid, Some(THERE), 9);
    node.wait("its monitor pauses it before its time", |node| {
        node.world
            .lock()
            .extended
            .windows(2)
            .any(|pair| pair[1].pause_at_ms < pair[0].kill_at_ms && pair[1].kill_at_ms == pair[0].kill_at_ms)
    })
    .await;
    node.wait_for_meta(uid, |meta| meta.reason.contains("node there has its lease")).await;
}

#[tokio::test]
async fn a_hypervisor_that_begins_anew_takes_the_leases_of_what_runs_up_again() {
    let mut node = Node::start().await;
    let uid = floating(&node).await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    let before = node.world.lock().extended.len();
    node.die().await;
    node.revive().await;
    node.wait("its monitor hears of the new term", |node| {
        node.world.lock().extended[before..].iter().any(|request| request.term > 1)
    })
    .await;
    node.wait_for_state(uid, SystemState::Running).await;
    assert!(!node.world.was_called("RemoveUnit"), "the guest was left alone");
}
