//! What a replica does about its hub.

use acp_base::{Change, Code, EpochId, Uid};
use acp_cluster::Config;
use acp_core_cdb::State;
use acp_dev_wait::wait_for_async;
use acp_wire_api::cluster::{self as api, GetRequest};
use acp_wire_model::{Kind, entry::Action};
use serde_json::json;

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
        here: None,
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
        let (name, uid) = (valid(&format!("s{number}")), Uid::from_u128(1_000 + number));
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

#[tokio::test]
async fn a_node_alone_goes_on_with_the_log_that_its_hub_was_given() {
    let directory = directory();
    let node = Node::start(directory.path());
    let kept = node.create(Kind::System, "kept", system()).await.expect("free").uid;
    let hub = node.hub().clone();
    let (here, epoch) = (node.status().await.node_uid, EpochId { number: 4, id: Uid::from_u128(4) });
    let restored = hub.state().alone(here, &valid("test"), epoch, Uid::from_u128(40));
    node.create(Kind::System, "later", system()).await.expect("free");
    node.stop().await;
    hub.begin_with(&restored);
    let node = Node::start(directory.path());
    let followed = async || match node.status().await {
        status if status.cluster == Uid::from_u128(40) => Ok(status.epoch),
        status => Err(status.degraded),
    };
    let followed = wait_for_async("the other log", LIMIT, followed).await.expect("it is followed");
    assert_eq!(followed, epoch.to_string());
    let systems = node.list(all(Kind::System)).await.expect("listed");
    assert_eq!(systems.iter().map(|system| (system.name.as_str(), system.uid)).collect::<Vec<_>>(), [("kept", kept)]);
    node.create(Kind::System, "later", system()).await.expect("that log goes on");
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_was_renamed_twice_is_known_by_the_name_between_and_by_no_other() {
    let directory = directory();
    let node = Node::start(directory.path());
    let (cluster, uid) = (node.status().await.cluster, node.status().await.node_uid);
    let member = json!({ "uid": uid, "name": "test", "address": "10.0.0.1:9932", "key": "ab".repeat(32) });
    let init = json!({ "type": "init", "cluster": cluster, "name": "lab", "authority": "ab", "node": member });
    let rename = |to: &str| json!({ "type": "rename", "node": uid, "to": to });
    let mut last = 0;
    for command in [init, rename("between"), rename("now")] {
        let ordered = node.hub().order("test", "", Action::Membership { command }).expect("ordered");
        assert_eq!(ordered.refused, None);
        last = ordered.index;
    }
    let applied = async || match node.status().await {
        status if status.index >= last => Ok(()),
        status => Err(status.index),
    };
    wait_for_async("both names", LIMIT, applied).await.expect("they come");
    node.stop().await;
    // Its framework has learnt of the first name alone.
    let node = Node::start_as("between", directory.path(), Config::default());
    assert_eq!(node.status().await.node.as_str(), "now");
    node.stop().await;
    let failed = Node::start_as("other", directory.path(), Config::default()).failure().await;
    assert!(failed.to_string().contains("belongs to node between, this node is called other"), "{failed}");
}
