//! Watches over the wire.

use std::collections::BTreeMap;

use acp_base::{Code, Uid};
use acp_io_client::Replies;
use acp_wire_api::cluster::{self as api, DeleteRequest, PublishRequest, Watch, WatchChange, WatchEvent, WatchRequest};
use acp_wire_model::{Kind, Object};
use serde_json::json;

use crate::{
    node::{Node, directory, next, system},
    publish::job,
};

/// A watch with the events it has not looked at.
struct Watcher {
    replies: Replies<Watch>,
    events: std::collections::VecDeque<WatchEvent>,
    cursor: String,
}

impl Watcher {
    async fn open(node: &Node, kinds: Vec<Kind>, cursor: Option<String>) -> Self {
        let request = WatchRequest { kinds, cursor, without_stats: false, here: None };
        let replies = node.service().stream::<Watch>(request).await.expect("open");
        Self { replies, events: std::collections::VecDeque::new(), cursor: String::new() }
    }

    async fn event(&mut self) -> (WatchChange, Option<Object>) {
        while self.events.is_empty() {
            let reply = next(&mut self.replies).await.expect("goes on").expect("no error");
            self.cursor = reply.cursor;
            self.events.extend(reply.events);
        }
        let event = self.events.pop_front().expect("filled above");
        (event.change, event.object)
    }

    async fn change(&mut self) -> (WatchChange, String) {
        let (change, object) = self.event().await;
        (change, object.map(|object| object.name).unwrap_or_default())
    }
}

fn said(change: WatchChange, name: &str) -> (WatchChange, String) {
    (change, name.to_owned())
}

#[tokio::test]
async fn the_state_comes_first_then_every_change() {
    let directory = directory();
    let node = Node::start(directory.path());
    node.create(Kind::System, "old", system()).await.expect("free");
    let mut watcher = Watcher::open(&node, vec![Kind::System, Kind::Job], None).await;
    assert_eq!(watcher.change().await, said(WatchChange::Put, "old"));
    assert_eq!(watcher.change().await, said(WatchChange::Synced, ""));
    let new = node.create(Kind::System, "new", system()).await.expect("free").uid;
    assert_eq!(watcher.change().await, said(WatchChange::Put, "new"));
    let publish = PublishRequest {
        incarnation: 1,
        sequence: 1,
        reports: vec![job(9, json!({"state": "running"}))],
        replace: false,
    };
    node.service().call::<api::Publish>(publish).await.expect("taken");
    assert_eq!(watcher.change().await, said(WatchChange::Put, "job-9"));
    node.service().call::<api::Delete>(DeleteRequest { kind: Kind::System, uid: new }).await.expect("unused");
    assert_eq!(watcher.change().await, said(WatchChange::Delete, "new"));
    let gone = PublishRequest { incarnation: 1, sequence: 2, reports: vec![], replace: true };
    node.service().call::<api::Publish>(gone).await.expect("taken back");
    let (change, object) = watcher.event().await;
    let object = object.expect("as it was last");
    assert_eq!(
        (change, object.name.as_str(), &object.slots[0].data["state"]),
        (WatchChange::Delete, "job-9", &json!("running"))
    );
    assert_eq!(node.status().await.watches, 1);
    node.stop().await;
}

#[tokio::test]
async fn a_cursor_goes_on_in_the_same_life_and_resynchronises_in_another() {
    let directory = directory();
    let node = Node::start(directory.path());
    let mut watcher = Watcher::open(&node, vec![Kind::System], None).await;
    assert_eq!(watcher.change().await, said(WatchChange::Synced, ""));
    let cursor = watcher.cursor.clone();
    drop(watcher);
    node.create(Kind::System, "meanwhile", system()).await.expect("free");
    let mut again = Watcher::open(&node, vec![Kind::System], Some(cursor.clone())).await;
    assert_eq!(again.change().await, said(WatchChange::Synced, ""));
    assert_eq!(again.change().await, said(WatchChange::Put, "meanwhile"));
    node.stop().await;
    let node = Node::start(directory.path());
    let mut elsewhere = Watcher::open(&node, vec![Kind::System], Some(cursor)).await;
    assert_eq!(elsewhere.change().await, said(WatchChange::Resync, ""));
    assert_eq!(elsewhere.change().await, said(WatchChange::Put, "meanwhile"));
    assert_eq!(elsewhere.change().await, said(WatchChange::Synced, ""));
    let nonsense = WatchRequest { kinds: vec![], cursor: Some("yesterday".into()), without_stats: false, here: None };
    let mut replies = node.service().stream::<Watch>(nonsense).await.expect("sent");
    let failure = next(&mut replies).await.expect("answered").expect_err("no cursor");
    assert_eq!(failure.code, Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn a_watch_that_falls_behind_is_resynchronised_and_ends_up_right() {
    let directory = directory();
    let node = Node::start(directory.path());
    let mut watcher = Watcher::open(&node, vec![Kind::Job], None).await;
    assert_eq!(watcher.change().await, said(WatchChange::Synced, ""));
    // More changes than the journal remembers, while nobody reads.
    let rounds = u64::try_from(acp_core_cdb::limits::JOURNAL_CHANGES_MAX / 1_000 + 4).expect("small");
    for round in 1..=rounds {
        let reports =
            (1..=1_000).map(|number| job(number, json!({"round": round, "padding": "x".repeat(200)}))).collect();
        let publish = PublishRequest { incarnation: 1, sequence: round, reports, replace: false };
        node.service().call::<api::Publish>(publish).await.expect("taken");
    }
    let mut known: BTreeMap<Uid, Object> = BTreeMap::new();
    let mut resyncs = 0;
    loop {
        match watcher.event().await {
            (WatchChange::Put, Some(object)) => drop(known.insert(object.uid, object)),
            (WatchChange::Delete, Some(object)) => drop(known.remove(&object.uid)),
            (WatchChange::Resync, _) => {
                resyncs += 1;
                known.clear();
            }
            (WatchChange::Synced, _) => break,
            (change, None) => panic!("{change:?} without an object"),
        }
    }
    assert_eq!((resyncs, known.len()), (1, 1_000));
    assert!(known.values().all(|object| object.slots[0].data["round"] == rounds));
    node.stop().await;
}
