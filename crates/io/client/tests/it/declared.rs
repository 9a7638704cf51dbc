//! What a database that lies behind is asked twice for.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use acp_base::{Code, Failure, Uid};
use acp_dev_nodes::{Nodes, only};
use acp_io_client::find_declared;
use acp_io_daemon::Router;
use acp_wire_api::cluster::{Get, GetReply, GetRequest};
use acp_wire_model::{Kind, Object};
use serde_json::json;

use crate::client;

/// A cluster service that has the network `old`, and `new` only with everything that was acknowledged, which it cannot have for
/// `apart`. It counts the questions that need the control plane.
fn add(nodes: &mut Nodes) -> Arc<AtomicU32> {
    let counted = Arc::new(AtomicU32::new(0));
    let (count, mut router) = (Arc::clone(&counted), Router::new());
    router.once::<Get, _, _>(move |call| {
        let GetRequest { kind, name, linearizable, .. } = call.request;
        count.fetch_add(u32::from(linearizable), Ordering::SeqCst);
        let answer = match name.unwrap_or_default().as_str() {
            "apart" if linearizable => Err(Failure::unavailable("no controller is heard")),
            name if name == "old" || (name == "new" && linearizable) => {
                Ok(GetReply { object: object(kind, name), index: 1 })
            }
            name => Err(Failure::not_found(format!("no {kind} named {name:?}"))),
        };
        std::future::ready(answer)
    });
    nodes.add("n1", "cluster", vec![only::<Get>(acp_wire_api::cluster::interface())], router);
    counted
}

fn object(kind: Kind, name: &str) -> Object {
    let object = json!({ "kind": kind, "uid": Uid::from_u128(1), "name": name, "version": 1, "spec": {} });
    serde_json::from_value(object).expect("an object")
}

fn named(kind: Kind, name: &str) -> GetRequest {
    GetRequest {
        kind,
        name: Some(name.to_owned()),
        uid: None,
        node: None,
        min_index: None,
        linearizable: false,
        here: None,
    }
}

#[tokio::test]
async fn what_is_missing_here_is_asked_for_with_all_that_was_acknowledged() {
    let mut nodes = Nodes::start();
    let asked = add(&mut nodes);
    let cluster = client(&nodes).service("cluster");
    let find = async |name| find_declared(&cluster, named(Kind::Network, name)).await;
    assert_eq!(find("old").await.expect("it is there").object.name, "old");
    assert_eq!(asked.load(Ordering::SeqCst), 0, "what is there costs no round");
    assert_eq!(find("new").await.expect("it was acknowledged").object.name, "new");
    assert_eq!(find("none").await.expect_err("there is none").code, Code::NotFound);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn nothing_is_said_not_to_exist_while_nobody_knows() {
    let mut nodes = Nodes::start();
    add(&mut nodes);
    let failure = find_declared(&client(&nodes).service("cluster"), named(Kind::System, "apart")).await;
    let failure = failure.expect_err("nobody knows");
    assert_eq!(failure.code, Code::Unavailable);
    assert!(failure.message.contains("no system named \"apart\", unless it was made just now: "), "{failure}");
}

#[tokio::test]
async fn what_no_log_holds_is_asked_for_once() {
    let mut nodes = Nodes::start();
    let asked = add(&mut nodes);
    let missing = find_declared(&client(&nodes).service("cluster"), named(Kind::Volume, "new")).await;
    assert_eq!(missing.expect_err("it is not reported").code, Code::NotFound);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
