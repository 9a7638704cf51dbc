//! The feature level: new logs begin at the newest one, older ones are raised by an operator.

use std::path::Path;

use acp_base::{Code, EpochId, Uid, WallTime, to_base64};
use acp_core_cdb::{State, encode};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::{Context, Router};
use acp_wire_api::{Empty, hub as api};
use acp_wire_model::entry::{Action, Entry, FEATURE_LEVEL};

use crate::{
    node::{LIMIT, Node, directory, valid},
    peer::Peer,
};

/// The log of n1 as the first version began it.
fn of_before(peer: &Peer) -> String {
    let action = Action::Genesis { cluster: Uid::from_u128(7), node: peer.uid, node_name: valid(&peer.name) };
    let epoch = EpochId { number: 1, id: Uid::from_u128(8) };
    let entry = Entry { index: 1, epoch, time: WallTime(5), actor: "hub".to_owned(), request: String::new(), action };
    let mut state = State::default();
    drop(state.apply(&encode(&entry)));
    to_base64(&state.image().expect("founded").encode())
}

async fn of_level_1(folder: &Path) -> Node {
    let (node, peer) = (Node::start(folder), Peer::new("n1", 1));
    let image = Some(of_before(&peer));
    let request = api::FoundRequest { node: peer.uid, name: valid(&peer.name), image };
    node.call::<api::Found>(request).await.expect("a log");
    node
}

/// A stand-in for the node's cluster service, which says of this build what it reads.
fn reader(folder: &Path) -> Context {
    let context = Context::for_test("cluster", folder, Vec::new());
    context.serve(Router::new()).expect("it serves");
    context.ready();
    context
}

#[tokio::test]
async fn a_log_begins_at_the_newest_level() {
    let folder = directory();
    let node = Node::founded(folder.path()).await;
    let plan = node.call::<api::PlanUpgrade>(Empty {}).await.expect("a plan");
    assert_eq!((plan.level, plan.to, plan.clashes), (FEATURE_LEVEL, FEATURE_LEVEL, vec![]));
    let before = node.applied().await;
    assert_eq!(node.call::<api::Upgrade>(Empty {}).await.expect("so already").level, FEATURE_LEVEL);
    assert_eq!(node.applied().await, before, "nothing was ordered");
    node.stop().await;
}

#[tokio::test]
async fn the_level_rises_when_somebody_says_so_and_everybody_knows_it() {
    let folder = directory();
    let node = of_level_1(folder.path()).await;
    let refused = node.call::<api::Upgrade>(Empty {}).await.expect_err("the cluster service does not answer");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(refused.message.contains("cluster of node test does not say what it reads"), "{refused}");
    let plan = node.call::<api::PlanUpgrade>(Empty {}).await.expect("a plan");
    assert_eq!((plan.level, plan.to, plan.clashes.len()), (1, FEATURE_LEVEL, 1));

    let cluster = reader(folder.path());
    let ready = wait_for_async("nothing to stand against it", LIMIT, async || {
        seen(node.call::<api::PlanUpgrade>(Empty {}).await.expect("a plan"), |plan| plan.clashes.is_empty())
    });
    let plan = ready.await.expect("both are asked");
    assert_eq!((plan.level, plan.to), (1, FEATURE_LEVEL), "it does not rise by itself");
    assert!(plan.effects[0].contains("level 1 alone cannot come back"), "{plan:?}");
    let before = node.applied().await;
    assert_eq!(node.call::<api::Upgrade>(Empty {}).await.expect("it rises").level, FEATURE_LEVEL);
    assert_eq!(node.call::<api::Upgrade>(Empty {}).await.expect("so already").level, FEATURE_LEVEL);
    assert_eq!(node.applied().await, before + 1, "once");
    cluster.drain.cancel();
    node.stop().await;
}

#[tokio::test]
async fn a_cluster_made_of_an_older_log_begins_at_the_newest_level() {
    let folder = directory();
    let node = of_level_1(folder.path()).await;
    let cluster = reader(folder.path());
    let plan = node.call::<api::PlanUpgrade>(Empty {}).await.expect("a plan");
    assert_eq!(plan.level, 1);
    let genesis_cluster = node.init(&Peer::new("n1", 1)).await.expect("a cluster").directory.cluster.uid;
    assert_eq!(genesis_cluster, Uid::from_u128(7));
    assert_eq!(node.call::<api::PlanUpgrade>(Empty {}).await.expect("a plan").level, FEATURE_LEVEL);
    cluster.drain.cancel();
    node.stop().await;
}
