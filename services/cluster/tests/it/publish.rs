//! Slots over the wire.

use acp_base::{Code, Uid};
use acp_wire_api::cluster::{self as api, PublishRequest, Report};
use acp_wire_model::{Kind, object::Facet};
use serde_json::{Value, json};

use crate::node::{Node, all, directory, system};

pub(crate) fn job(number: u128, data: Value) -> Report {
    let name = Some(format!("job-{number}"));
    Report { kind: Kind::Job, uid: Uid::from_u128(number), name, facet: Facet::Meta, data: Some(data) }
}

#[tokio::test]
async fn reporter_and_age_come_with_the_slot() {
    let directory = directory();
    let node = Node::start(directory.path());
    let uid = node.create(Kind::System, "a", system()).await.expect("free").uid;
    let meta =
        Report { kind: Kind::System, uid, name: None, facet: Facet::Meta, data: Some(json!({"state": "stopped"})) };
    let nobody = Report { uid: Uid::from_u128(77), ..meta.clone() };
    let request =
        PublishRequest { incarnation: 5, sequence: 1, reports: vec![meta, nobody, job(9, json!({}))], replace: false };
    let reply = node.service().call::<api::Publish>(request.clone()).await.expect("taken");
    assert_eq!(reply.unknown, [Uid::from_u128(77)]);
    let slots = node.get(Kind::System, "a").await.expect("there").slots;
    assert_eq!((slots[0].reporter.as_str(), slots[0].incarnation, slots[0].sequence), ("root@test", 5, 1));
    assert!(slots[0].age_ms < 20_000);
    let found = node.get(Kind::Job, "job-9").await.expect("reported");
    assert_eq!((found.version, found.spec), (0, json!({})));
    let stale = node.service().call::<api::Publish>(request).await.expect_err("the same sequence again");
    assert_eq!(stale.code, Code::Conflict);
    assert_eq!(node.status().await.slots, 2);
    let empty = PublishRequest { incarnation: 6, sequence: 1, reports: vec![], replace: true };
    node.service().call::<api::Publish>(empty).await.expect("taken back");
    assert!(node.list(all(Kind::Job)).await.expect("listed").is_empty());
    assert_eq!(node.status().await.slots, 0);
    node.stop().await;
}

#[tokio::test]
async fn slots_do_not_outlive_the_daemon_and_specs_do() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::System, "a", system()).await.expect("free");
    let request = PublishRequest { incarnation: 5, sequence: 9, reports: vec![job(9, json!({}))], replace: false };
    node.service().call::<api::Publish>(request.clone()).await.expect("taken");
    node.stop().await;
    let node = Node::start(directory.path());
    assert_eq!((node.status().await.slots, node.list(all(Kind::System)).await.expect("listed").len()), (0, 1));
    node.service().call::<api::Publish>(request).await.expect("the reporter says it again");
    node.stop().await;
}
