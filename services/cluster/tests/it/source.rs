//! What a replica does about its hub.

use acp_base::{Change, Code};
use acp_core_cdb::State;
use acp_dev_wait::wait_for_async;
use acp_wire_api::cluster::{self as api, GetRequest};
use acp_wire_model::{Kind, entry::Action};

use crate::node::{LIMIT, Node, all, directory, system, valid};

async fn degraded(node: &Node, wanted: impl Fn(&str) -> bool) -> api::Status {
    let look = async || {
        let status = node.status().await;
        if wanted(&status.degraded) { Ok(status) } else { Err(status.degraded) }
    };
    wait_for_async("what is said of the control plane", LIMIT, look).await.expect("it is said")
}

#[tokio::test]
async fn without_a_quorum_reads_go_on_and_writes_change_nothing() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::System, "a", system()).await.expect("free");
    node.hub().degrade("two of three voters are away");
    let status = degraded(&node, |reason| reason == "two of three voters are away").await;
    assert_eq!(status.source, "hub");
    assert_eq!(node.health(), status.degraded);
    node.get(Kind::System, "a").await.expect("reads go on");
    let linear = GetRequest {
        kind: Kind::System,
        name: Some("a".into()),
        uid: None,
        node: None,
        min_index: None,
        linearizable: true,
    };
    let refused = node.service().call::<api::Get>(linear.clone()).await.expect_err("nobody knows");
    assert_eq!(refused.code, Code::Unavailable);
    let failure = node.create(Kind::System, "b", system()).await.expect_err("nobody orders");
    assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::None), "{failure}");
    node.hub().degrade("");
    degraded(&node, str::is_empty).await;
    let written = node.create(Kind::System, "b", system()).await.expect("ordered again");
    assert_eq!(written.index, 3, "what was refused left no entry");
    assert!(node.service().call::<api::Get>(linear).await.expect("a quorum").index >= 3);
    node.stop().await;
}

#[tokio::test]
async fn a_hub_that_lost_its_log_is_given_this_one() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::System, "a", system()).await.expect("free");
    let before = node.status().await;
    node.stop().await;
    std::fs::remove_dir_all(directory.path().join("state/hub")).expect("removed");
    let node = Node::start(directory.path());
    let written = node.create(Kind::System, "b", system()).await;
    let written = match written {
        Err(failure) if failure.code == Code::FailedPrecondition => {
            degraded(&node, str::is_empty).await;
            node.create(Kind::System, "b", system()).await
        }
        written => written,
    };
    assert_eq!(written.expect("ordered").index, before.index + 1, "the log goes on");
    assert_eq!(node.status().await.cluster, before.cluster);
    node.stop().await;
}

#[tokio::test]
async fn a_replica_that_missed_too_much_starts_from_a_snapshot() {
    let directory = directory();
    let node = Node::start(directory.path());
    let kept = node.create(Kind::System, "kept", system()).await.expect("free").uid;
    let hub = node.hub().clone();
    node.stop().await;
    for number in 0..20_u128 {
        let (name, uid) = (valid(&format!("s{number}")), acp_base::Uid::from_u128(1_000 + number));
        hub.order("test", "", Action::Create { kind: Kind::System, name, uid, spec: system() }).expect("ordered");
    }
    hub.compact();
    let state: State = hub.state();
    let node = Node::start(directory.path());
    let caught_up = async || match node.status().await {
        status if status.index == state.index() => Ok(status),
        status => Err(status.index),
    };
    let status = wait_for_async("the snapshot", LIMIT, caught_up).await.expect("it comes");
    assert_eq!((status.hash, status.anchor), (state.hash().to_string(), state.index()));
    assert_eq!(node.list(all(Kind::System)).await.expect("listed").len(), 21);
    assert_eq!(node.get(Kind::System, "kept").await.expect("there").uid, kept);
    node.create(Kind::System, "later", system()).await.expect("the log goes on");
    node.stop().await;
    let node = Node::start(directory.path());
    assert_eq!(node.list(all(Kind::System)).await.expect("listed").len(), 22, "and so does the next life");
    node.stop().await;
}
