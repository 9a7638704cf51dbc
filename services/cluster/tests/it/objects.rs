//! Writes, reads, refusals.

use acp_base::Code;
use acp_wire_api::cluster::{self as api, DeleteRequest, GetRequest, ListRequest, Selector, SelectorOp, UpdateRequest};
use acp_wire_model::{Kind, network::NetworkSpec, system::SystemSpec};
use serde_json::json;

use crate::node::{Node, all, directory, system};

#[tokio::test]
async fn a_new_store_becomes_a_cluster_of_this_node() {
    let directory = directory();
    let node = Node::start(directory.path());
    let status = node.status().await;
    assert_eq!((status.node.as_str(), status.index, status.objects, status.stalled.as_str()), ("test", 1, 1, ""));
    assert!(status.epoch.starts_with("1-") && status.hash.len() == 64 && status.store_bytes > 0);
    let this = node.get(Kind::Node, "test").await.expect("declared by the first entry");
    assert_eq!(this.uid, status.node_uid);
    node.stop().await;
}

#[tokio::test]
async fn what_apply_filled_in_is_answered_and_read_back() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::Network, "lan", json!({"address": "10.0.0.1/24"})).await.expect("free");
    let mut spec = system();
    spec["nics"] = json!([{"network": "lan"}]);
    let written = node.create(Kind::System, "a", spec).await.expect("valid");
    let applied: SystemSpec = serde_json::from_value(written.spec.clone()).expect("a spec");
    assert_eq!(applied.nics[0].address.as_deref(), Some("10.0.0.2"));
    let request = GetRequest {
        kind: Kind::System,
        name: None,
        uid: Some(written.uid),
        node: None,
        min_index: Some(written.index),
        linearizable: false,
        here: None,
    };
    let reply = node.service().call::<api::Get>(request).await.expect("read your writes");
    assert_eq!((&reply.object.spec, reply.object.version), (&written.spec, written.index));
    assert!(reply.index >= written.index);

    let update = UpdateRequest {
        kind: Kind::System,
        uid: written.uid,
        patch: json!({"cpus": 3}),
        if_version: Some(written.index),
    };
    let updated = node.service().call::<api::Update>(update.clone()).await.expect("the version is right");
    assert_eq!((&updated.spec["cpus"], &updated.spec["nics"]), (&json!(3), &written.spec["nics"]));
    let conflict = node.service().call::<api::Update>(update).await.expect_err("the version has passed");
    assert_eq!(conflict.code, Code::Conflict);

    let lan = node.get(Kind::Network, "lan").await.expect("declared");
    assert!(lan.spec_as::<NetworkSpec>().expect("a spec").nat);
    let used = node.service().call::<api::Delete>(DeleteRequest { kind: Kind::Network, uid: lan.uid }).await;
    let used = used.expect_err("used");
    assert_eq!(
        (used.code, used.message.as_str()),
        (Code::FailedPrecondition, "network \"lan\" is used by system \"a\"")
    );
    node.service().call::<api::Delete>(DeleteRequest { kind: Kind::System, uid: written.uid }).await.expect("unused");
    let gone = node.get(Kind::System, "a").await.expect_err("deleted");
    assert_eq!((gone.code, gone.message.as_str()), (Code::NotFound, "no system named \"a\""));
    node.stop().await;
}

#[tokio::test]
async fn of_many_who_want_one_name_exactly_one_gets_it() {
    let directory = directory();
    let node = Node::start(directory.path());
    let attempts = (0..64).map(|_| {
        let client = node.client().clone();
        async move {
            let name = "contested".parse().expect("valid");
            let request = api::CreateRequest { kind: Kind::System, name, uid: None, spec: system() };
            client.service("cluster").call::<api::Create>(request).await
        }
    });
    let mut running = tokio::task::JoinSet::new();
    for attempt in attempts {
        running.spawn(attempt);
    }
    let outcomes = running.join_all().await;
    assert_eq!(outcomes.len(), 64);
    let won: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    for lost in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(
            (lost.code, lost.message.as_str()),
            (Code::AlreadyExists, "a system named \"contested\" exists already")
        );
    }
    assert_eq!(node.get(Kind::System, "contested").await.expect("one won").uid, won[0].uid);
    assert_eq!(node.status().await.index, 65, "every attempt is an entry");
    node.stop().await;
}

#[tokio::test]
async fn bad_input_is_named_and_leaves_no_entry() {
    let directory = directory();
    let node = Node::start(directory.path());
    let mut misspelt = system();
    misspelt["cpu"] = json!(2);
    let failure = node.create(Kind::System, "a", misspelt).await.expect_err("no such field");
    assert!(
        failure.code == Code::InvalidArgument
            && failure.message.contains("no field \"cpu\" there; the fields are node, cpus"),
        "{failure}"
    );
    let mut huge = system();
    huge["node"] = json!("x".repeat(300_000));
    assert_eq!(node.create(Kind::System, "a", huge).await.expect_err("too large").code, Code::InvalidArgument);
    let uid = node.get(Kind::Node, "test").await.expect("declared").uid;
    let patch = UpdateRequest { kind: Kind::Node, uid, patch: json!({"descripton": "x"}), if_version: None };
    let failure = node.service().call::<api::Update>(patch).await.expect_err("misspelt");
    assert!(failure.message.contains("\"descripton\""), "{failure}");
    for (name, uid) in [(None, None), (Some("test".to_owned()), Some(uid))] {
        let request =
            GetRequest { kind: Kind::Node, name, uid, node: None, min_index: None, linearizable: false, here: None };
        assert_eq!(
            node.service().call::<api::Get>(request).await.expect_err("one of both").code,
            Code::InvalidArgument
        );
    }
    assert_eq!(node.status().await.index, 1);
    let failure = node.create(Kind::Job, "a", json!({})).await.expect_err("reported");
    assert_eq!(failure.code, Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn lists_are_whole_ordered_and_selected() {
    let directory = directory();
    let node = Node::start(directory.path());
    for number in (0..300).rev() {
        let mut spec = system();
        spec["cpus"] = json!(1 + number % 3);
        node.create(Kind::System, &format!("s{number:03}"), spec).await.expect("free");
    }
    let objects = node.list(all(Kind::System)).await.expect("listed");
    let names: Vec<_> = objects.iter().map(|object| object.name.clone()).collect();
    assert_eq!(names, (0..300).map(|number| format!("s{number:03}")).collect::<Vec<_>>());
    let select = |path: &str, op, value: &str| ListRequest {
        kind: Some(Kind::System),
        selectors: vec![Selector { path: path.into(), op, value: value.into() }],
        min_index: None,
        here: None,
    };
    assert_eq!(node.list(select("spec.cpus", SelectorOp::Eq, "2")).await.expect("listed").len(), 100);
    assert_eq!(node.list(select("spec.cpus", SelectorOp::Ne, "2")).await.expect("listed").len(), 200);
    assert!(node.list(select("spec.node", SelectorOp::Eq, "other")).await.expect("listed").is_empty());
    assert_eq!(node.list(select("bogus", SelectorOp::Eq, "")).await.expect_err("no path").code, Code::InvalidArgument);
    let everything = ListRequest { kind: None, selectors: vec![], min_index: None, here: None };
    assert_eq!(node.list(everything).await.expect("listed").len(), 301);
    node.stop().await;
}

#[tokio::test]
async fn a_read_waits_for_the_entry_it_names() {
    let directory = directory();
    let node = Node::start(directory.path());
    let index = node.status().await.index + 1;
    let service = node.service();
    let mut early = tokio::task::JoinSet::new();
    early.spawn(async move {
        let request = GetRequest {
            kind: Kind::System,
            name: Some("later".into()),
            uid: None,
            node: None,
            min_index: Some(index),
            linearizable: false,
            here: None,
        };
        service.call::<api::Get>(request).await
    });
    node.create(Kind::System, "later", system()).await.expect("free");
    let reply = early.join_next().await.expect("one").expect("no panic").expect("found");
    assert_eq!(reply.object.name, "later");
    let far = GetRequest {
        kind: Kind::System,
        name: Some("later".into()),
        uid: None,
        node: None,
        min_index: Some(1_000_000),
        linearizable: false,
        here: None,
    };
    let short = node.service().deadline(std::time::Duration::from_millis(200));
    assert_eq!(short.call::<api::Get>(far).await.expect_err("never comes").code, Code::DeadlineExceeded);
    node.stop().await;
}
