//! Specs as they were, and entries taken back.

use acp_base::{Code, Failure};
use acp_cluster::Config;
use acp_dev_wait::wait_for_async;
use acp_wire_api::cluster::{
    self as api, GetAtRequest, ListAtReply, ListAtRequest, PastObject, ReadLogRequest, Selector, SelectorOp,
    UndoRequest, UpdateRequest,
};
use acp_wire_model::Kind;
use serde_json::json;

use crate::node::{LIMIT, Node, directory, next, system};

fn at(name: &str, index: u64) -> GetAtRequest {
    GetAtRequest { kind: Kind::System, name: Some(name.into()), uid: None, node: None, index }
}

#[tokio::test]
async fn a_spec_is_answered_as_it_was_and_a_change_taken_back() {
    let directory = directory();
    let node = Node::start(directory.path());
    let made = node.create(Kind::System, "a", system()).await.expect("free");
    let update = |patch| UpdateRequest { kind: Kind::System, uid: made.uid, patch, if_version: None };
    let service = node.service();
    let cpus = service.call::<api::Update>(update(json!({"cpus": 4}))).await.expect("valid");
    let memory = service.call::<api::Update>(update(json!({"memory_bytes": 128 << 20}))).await.expect("valid");
    let before = service.call::<api::GetAt>(at("a", made.index)).await.expect("kept");
    assert_eq!((before.version, &before.spec), (made.index, &made.spec));
    assert!(before.time_ms > 1_600_000_000_000);
    let later = service.call::<api::GetAt>(at("a", cpus.index)).await.expect("kept");
    assert_eq!((&later.spec["cpus"], &later.spec["memory_bytes"]), (&json!(4), &json!(64 << 20)));
    let early = service.call::<api::GetAt>(at("a", made.index - 1)).await.expect_err("not yet there");
    assert_eq!(early.code, Code::NotFound);
    let future = service.call::<api::GetAt>(at("a", memory.index + 1)).await.expect_err("not yet ordered");
    assert!(
        future.code == Code::NotFound && future.message.ends_with(&format!("is entry {}", memory.index)),
        "it says how far the log goes: {future}"
    );

    let undone = service.call::<api::Undo>(UndoRequest { index: cpus.index }).await.expect("nobody changed it since");
    assert_eq!(
        (&undone.spec["cpus"], &undone.spec["memory_bytes"]),
        (&json!(1), &json!(128 << 20)),
        "no more than that"
    );
    let again = service.call::<api::Undo>(UndoRequest { index: cpus.index }).await.expect_err("changed since");
    assert_eq!(again.code, Code::Conflict, "{again}");
    service.call::<api::Update>(update(json!({"memory_bytes": 256 << 20}))).await.expect("valid");
    let lost = service.call::<api::Undo>(UndoRequest { index: memory.index }).await.expect_err("changed since");
    assert_eq!(lost.code, Code::Conflict, "{lost}");
    node.stop().await;
}

/// All replies to a list of the past.
async fn list_at(node: &Node, request: ListAtRequest) -> Result<Vec<ListAtReply>, Failure> {
    let mut replies = node.service().stream::<api::ListAt>(request).await?;
    let mut all = Vec::new();
    while let Some(reply) = next(&mut replies).await {
        all.push(reply?);
    }
    Ok(all)
}

fn names(replies: &[ListAtReply]) -> Vec<String> {
    replies.iter().flat_map(|reply| &reply.objects).map(|object| object.name.clone()).collect()
}

#[tokio::test]
async fn objects_are_listed_as_they_were() {
    let directory = directory();
    let node = Node::start(directory.path());
    let mut last = 0;
    for number in 0..300 {
        last = node.create(Kind::System, &format!("s{number:03}"), system()).await.expect("free").index;
    }
    let first = node.get(Kind::System, "s000").await.expect("declared");
    let patch = json!({"cpus": 4});
    let update = UpdateRequest { kind: Kind::System, uid: first.uid, patch, if_version: None };
    node.service().call::<api::Update>(update).await.expect("valid");
    let gone = node.get(Kind::System, "s001").await.expect("declared").uid;
    let delete = api::DeleteRequest { kind: Kind::System, uid: gone };
    let newest = node.service().call::<api::Delete>(delete).await.expect("declared").index;

    let of = |index, path: &str, value: &str| {
        let selector = Selector { path: path.into(), op: SelectorOp::Eq, value: value.into() };
        ListAtRequest { kind: Some(Kind::System), selectors: vec![selector], index }
    };
    let systems = |index| ListAtRequest { kind: Some(Kind::System), selectors: vec![], index };
    let replies = list_at(&node, systems(last)).await.expect("kept");
    assert!(replies.len() > 2 && replies.iter().all(|reply| reply.time_ms > 1_600_000_000_000), "in batches");
    assert_eq!(names(&replies), (0..300).map(|number| format!("s{number:03}")).collect::<Vec<_>>());
    let was = PastObject {
        kind: Kind::System,
        uid: first.uid,
        name: "s000".into(),
        version: first.version,
        spec: first.spec,
    };
    assert_eq!(replies[0].objects[0], was, "what was changed later is as it was");
    assert_eq!(names(&list_at(&node, systems(newest)).await.expect("kept")).len(), 299);
    assert_eq!(names(&list_at(&node, of(newest, "spec.cpus", "4")).await.expect("kept")), ["s000"]);
    assert!(names(&list_at(&node, of(last, "spec.cpus", "4")).await.expect("kept")).is_empty());
    let everything = ListAtRequest { kind: None, selectors: vec![], index: 1 };
    assert_eq!(names(&list_at(&node, everything).await.expect("kept")), ["test"], "the first entry declares the node");

    let refused = async |request| list_at(&node, request).await.expect_err("it cannot be answered");
    let future = refused(systems(newest + 1)).await;
    assert!(future.code == Code::NotFound && future.message.ends_with(&format!("is entry {newest}")), "{future}");
    let reported = ListAtRequest { kind: Some(Kind::Job), ..systems(1) };
    for request in [systems(0), of(last, "meta.state", "running"), of(last, "bogus", ""), reported] {
        assert_eq!(refused(request).await.code, Code::InvalidArgument);
    }
    node.stop().await;
}

#[tokio::test]
async fn specs_can_be_asked_for_back_to_the_anchor_and_not_before() {
    let directory = directory();
    let config = Config { retention_mib: 0, snapshot_entries: 10, ..Config::default() };
    let node = Node::start_with(directory.path(), config);
    let mut last = 0;
    for number in 0..25 {
        last = node.create(Kind::System, &format!("s{number}"), system()).await.expect("free").index;
    }
    let anchored = async || match node.status().await.anchor {
        anchor if anchor >= 20 => Ok(anchor),
        anchor => Err(anchor),
    };
    let anchor = wait_for_async("the anchor", LIMIT, anchored).await.expect("entries go");
    let service = node.service();
    let found = service.call::<api::GetAt>(at("s0", anchor)).await.expect("the anchor itself is kept");
    assert_eq!(found.name, "s0");
    service.call::<api::GetAt>(at("s24", last)).await.expect("and all after it");
    let gone = service.call::<api::GetAt>(at("s0", anchor - 1)).await.expect_err("before the anchor");
    assert!(
        gone.code == Code::FailedPrecondition && gone.message.contains(&format!("is index {anchor}, ordered ")),
        "{gone}"
    );
    assert!(gone.message.contains("ordered at 20") && gone.message.ends_with('Z'), "as people write times: {gone}");
    let systems = |index| ListAtRequest { kind: Some(Kind::System), selectors: vec![], index };
    assert_eq!(names(&list_at(&node, systems(anchor)).await.expect("kept")).len() as u64, anchor - 1);
    assert_eq!(list_at(&node, systems(anchor - 1)).await.expect_err("before the anchor"), gone);
    node.stop().await;
}

#[tokio::test]
async fn a_cursor_of_the_log_goes_on_after_its_entry_and_nowhere_else() {
    let directory = directory();
    let node = Node::start(directory.path());
    for name in ["a", "b", "c"] {
        node.create(Kind::System, name, system()).await.expect("free");
    }
    let read = async |from, cursor: Option<String>| {
        let request = ReadLogRequest { from, cursor, follow: false };
        let mut replies = node.service().stream::<api::ReadLog>(request).await.expect("sent");
        next(&mut replies).await.expect("answered").map(|reply| reply.entries)
    };
    let all = read(1, None).await.expect("readable");
    let rest = read(0, Some(all[1].cursor.clone())).await.expect("on the same log");
    assert_eq!(rest, all[2..]);
    let elsewhere = read(0, Some("7-0a1b2c3d:2".into())).await.expect_err("another epoch");
    assert_eq!(elsewhere.code, Code::FailedPrecondition, "{elsewhere}");
    for bad in ["", "2", "1-x:0", "1-zz:2"] {
        assert_eq!(read(0, Some(bad.into())).await.expect_err(bad).code, Code::InvalidArgument);
    }
    node.stop().await;
}
