//! The log that a cluster service has: entries of one kind, in epoch `1-0000000a`.

use std::sync::{Arc, Mutex};

use acp_base::{Failure, Uid};
use acp_io_daemon::Router;
use acp_wire_api::cluster::{
    GetAt, GetAtReply, GetStatus, Lease, ListAt, ListAtReply, ListLeases, ListLeasesReply, LogEntry, PastObject,
    ReadLog, ReadLogReply, Status, Undo, VerifyLog, VerifyLogReply, WriteReply,
};
use acp_wire_model::Kind;
use serde_json::json;
use tokio::sync::watch;

use super::node::State;

type Shared = Arc<Mutex<State>>;

fn entry(index: u64) -> LogEntry {
    let entry = json!({
        "index": index, "epoch": {"number": 1, "id": Uid::from_u128(10)}, "time": 5, "actor": "ops", "request": "",
        "action": {"type": "feature_level", "level": index},
    });
    let refused = (index == 2).then(|| "it is not above the present one".to_owned());
    LogEntry { entry, hash: "ab".repeat(32), refused, cursor: format!("1-0000000a:{index}") }
}

fn status(entries: u64) -> Status {
    Status {
        cluster: Uid::from_u128(1),
        node_uid: Uid::from_u128(2),
        node: "test".parse().expect("a name"),
        epoch: "1-0000000a".into(),
        index: entries,
        hash: "ab".repeat(32),
        objects: 0,
        slots: 0,
        watches: 0,
        store_bytes: 0,
        stalled: String::new(),
        source: "hub".into(),
        heard_ms: Some(1),
        degraded: String::new(),
        feature_level: 1,
        anchor: 1,
    }
}

pub(super) fn add(router: &mut Router, state: &Shared, change: &watch::Sender<u64>) {
    let entries = {
        let state = Arc::clone(state);
        move || state.lock().expect("no panic").entries
    };
    let count = entries.clone();
    router.once::<GetStatus, _, _>(move |_call| std::future::ready(Ok(status(count()))));
    let (count, change) = (entries, change.clone());
    router.stream::<ReadLog, _, _>(move |call, sink| {
        let (count, mut changes) = (count.clone(), change.subscribe());
        async move {
            let mut next = match call.request.cursor.as_deref().map(|cursor| cursor.strip_prefix("1-0000000a:")) {
                None => call.request.from,
                Some(Some(index)) => index.parse::<u64>().expect("an index") + 1,
                Some(None) => return Err(Failure::precondition("that entry is another one here")),
            };
            loop {
                let entries: Vec<_> = (next..=count()).map(entry).collect();
                next += entries.len() as u64;
                if !call.request.follow {
                    return Ok(ReadLogReply { entries });
                }
                if !entries.is_empty() {
                    sink.send(ReadLogReply { entries }).await?;
                }
                changes.changed().await.map_err(|error| Failure::internal(error.to_string()))?;
            }
        }
    });
    router.once::<GetAt, _, _>(|call| {
        let spec = json!({ "cpus": call.request.index });
        let name = call.request.name.unwrap_or_default();
        std::future::ready(Ok(GetAtReply { uid: Uid::from_u128(3), name, version: 1, spec, time_ms: 5 }))
    });
    // Two that share a name, and one more, in two batches.
    router.stream::<ListAt, _, _>(|call, sink| async move {
        let spec = json!({ "cpus": call.request.index });
        let past = |name: &str, uid| PastObject {
            kind: call.request.kind.unwrap_or(Kind::System),
            uid: Uid::from_u128(uid),
            name: name.to_owned(),
            version: 1,
            spec: spec.clone(),
        };
        sink.send(ListAtReply { objects: vec![past("a", 2), past("a", 1)], time_ms: 5 }).await?;
        Ok(ListAtReply { objects: vec![past("b", 3)], time_ms: 5 })
    });
    let asked = Arc::clone(state);
    router.once::<Undo, _, _>(move |call| {
        asked.lock().expect("no panic").asked.push(json!(call.request));
        std::future::ready(Ok(WriteReply { uid: Uid::from_u128(3), index: 9, spec: json!({}) }))
    });
    router.once::<VerifyLog, _, _>(|_call| {
        std::future::ready(Ok(VerifyLogReply { first: 1, last: 2, hash: "ab".repeat(32), broken_at: None }))
    });
    router.once::<ListLeases, _, _>(|_call| {
        let lease = |name: &str, node: Option<&str>| Lease {
            system: Uid::from_u128(3),
            name: name.parse().expect("a name"),
            node: node.map(|node| node.parse().expect("a name")),
            term: 4,
            index: 2,
        };
        std::future::ready(Ok(ListLeasesReply { leases: vec![lease("b", Some("n2")), lease("c", None)], index: 2 }))
    });
}
