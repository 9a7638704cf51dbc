//! `event`, `object get|list --at`, `object diff`, `lease list`.

use std::sync::{Arc, Mutex};

use acp_base::{Failure, Uid};
use acp_io_daemon::Router;
use acp_wire_api::{
    Method,
    cluster::{
        self, Get, GetAt, GetAtReply, GetReply, GetStatus, Lease, ListAt, ListAtReply, ListLeases, ListLeasesReply,
        LogEntry, PastObject, ReadLog, ReadLogReply, ReadLogRequest, Undo, VerifyLog, VerifyLogReply, WriteReply,
    },
};
use acp_wire_model::Kind;
use serde_json::{Value, json};

use crate::node::{Node, database, system};

const WEB: Uid = Uid::from_u128(1);
const N2: Uid = Uid::from_u128(2);

/// Entries 40 to 44: web is created, changed, refused to be changed, granted to n2 and deleted.
fn log() -> Vec<LogEntry> {
    let entry = |index: u64, action: Value, refused: Option<&str>| LogEntry {
        entry: json!({
            "index": index, "epoch": {"number": 1, "id": Uid::from_u128(10)}, "time": 1_795_296_892_000_u64,
            "actor": "root@n1", "request": "r1", "action": action,
        }),
        hash: "ab".repeat(32),
        refused: refused.map(str::to_owned),
        cursor: format!("1-0000000a:{index}"),
    };
    let update = |patch: Value| json!({"type": "update", "kind": "system", "uid": WEB, "patch": patch});
    vec![
        entry(
            40,
            json!({"type": "create", "kind": "system", "name": "web", "uid": WEB, "spec": {"memory_bytes": 268_435_456}}),
            None,
        ),
        entry(41, update(json!({"memory_bytes": 536_870_912})), None),
        entry(42, update(json!({"cpus": 0})), Some("cpus: 0 is not within 1 and 512")),
        entry(43, json!({"type": "lease", "system": WEB, "act": {"act": "grant", "node": N2}}), None),
        entry(44, json!({"type": "delete", "kind": "system", "uid": WEB}), None),
    ]
}

type Heard = Arc<Mutex<Vec<Value>>>;

fn node() -> (Node, Heard) {
    let mut node = Node::new();
    let heard = Heard::default();
    let mut router = Router::new();
    let noted = Arc::clone(&heard);
    router.stream::<ReadLog, _, _>(move |call, sink| {
        noted.lock().expect("no panic").push(json!(call.request));
        async move {
            let ReadLogRequest { from, cursor, follow } = call.request;
            let seen = match cursor.as_deref() {
                None => from - 1,
                Some(cursor) => match cursor.strip_prefix("1-0000000a:") {
                    Some(index) => index.parse().expect("an index"),
                    None => return Err(Failure::precondition("that entry is another one here")),
                },
            };
            let entries: Vec<_> =
                log().into_iter().filter(|entry| entry.entry["index"].as_u64() > Some(seen)).collect();
            if !follow {
                return Ok(ReadLogReply { entries });
            }
            let mut parts = entries.chunks(2);
            if let Some(part) = parts.next() {
                sink.send(ReadLogReply { entries: part.to_vec() }).await?;
            }
            // Whoever follows is lost after each reply, until there is nothing to tell.
            if entries.is_empty() {
                std::future::pending().await
            } else {
                Err(Failure::unavailable("cluster is stopping"))
            }
        }
    });
    router.once::<GetStatus, _, _>(|_call| std::future::ready(Ok(cluster::Status { index: 44, ..database("n1") })));
    router.once::<GetAt, _, _>(|call| {
        let is_web = call.request.uid == Some(WEB) || call.request.name.as_deref() == Some("web");
        let was = |spec| GetAtReply { uid: WEB, name: "web".into(), version: 40, spec, time_ms: 1_795_296_892_000 };
        std::future::ready(match call.request.index {
            40 if is_web => Ok(was(json!({"memory_bytes": 268_435_456, "cpus": 1}))),
            41..=43 if is_web => Ok(was(json!({"memory_bytes": 536_870_912, "cpus": 1}))),
            index => Err(Failure::not_found(format!("there is none at {index}"))),
        })
    });
    let noted = Arc::clone(&heard);
    router.stream::<ListAt, _, _>(move |call, sink| {
        noted.lock().expect("no panic").push(json!(call.request));
        async move {
            if call.request.index > 44 {
                return Err(Failure::not_found("entry 99 has not been ordered yet"));
            }
            let past = |name: &str| PastObject {
                kind: Kind::System,
                uid: WEB,
                name: name.to_owned(),
                version: 40,
                spec: json!({ "cpus": 3, "memory_bytes": 268_435_456, "node": "n2", "nics": [] }),
            };
            let time_ms = 1_795_296_892_000;
            sink.send(ListAtReply { objects: vec![past("db")], time_ms }).await?;
            Ok(ListAtReply { objects: vec![past("web")], time_ms })
        }
    });
    let noted = Arc::clone(&heard);
    router.once::<Get, _, _>(move |call| {
        noted.lock().expect("no panic").push(json!({ "linearizable": call.request.linearizable }));
        let is_node = call.request.uid == Some(N2);
        let object = system(2, if is_node { "n2" } else { "web" }, "running");
        std::future::ready(Ok(GetReply { object, index: 44 }))
    });
    let noted = Arc::clone(&heard);
    router.once::<Undo, _, _>(move |call| {
        noted.lock().expect("no panic").push(json!(call.request));
        std::future::ready(Ok(WriteReply { uid: WEB, index: 45, spec: json!({}) }))
    });
    router.once::<VerifyLog, _, _>(|_call| {
        std::future::ready(Ok(VerifyLogReply { first: 40, last: 44, hash: "ab".repeat(32), broken_at: Some(42) }))
    });
    router.once::<ListLeases, _, _>(|_call| {
        let lease = Lease { system: WEB, name: "web".parse().expect("a name"), node: None, term: 3, index: 43 };
        std::future::ready(Ok(ListLeasesReply { leases: vec![lease], index: 44 }))
    });
    let played = [
        ReadLog::NAME,
        GetStatus::NAME,
        GetAt::NAME,
        ListAt::NAME,
        Get::NAME,
        Undo::NAME,
        VerifyLog::NAME,
        ListLeases::NAME,
    ];
    node.add("cluster", cluster::interface(), &played, router);
    (node, heard)
}

const TOLD: [&str; 5] = [
    "created system web",
    "changed system web: memory_bytes 256MiB -> 512MiB",
    "changed system web: cpus = 0",
    "granted system web to node n2",
    "deleted system web",
];

#[tokio::test]
async fn events_are_told_in_words_with_a_cursor_to_go_on_with() {
    let (node, heard) = node();
    let run = node.run("event list").await;
    assert_eq!((run.status, run.err.as_str()), (Some(0), "go on with: acpctl event follow --from 1-0000000a:44\n"));
    for (line, told) in run.out.lines().skip(1).zip(TOLD) {
        assert!(line.contains("2026-11-21T21:34:52Z  root@n1") && line.contains(told), "{line}");
    }
    assert!(run.out.contains("cpus: 0 is not within 1 and 512"), "{}", run.out);
    let rows = node.run("event list --from 1-0000000a:42 --limit 1 -o json").await.json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    assert_eq!((&rows[0]["index"], &rows[0]["what"]), (&json!(43), &json!("granted system web to node n2")));
    assert_eq!((&rows[0]["cursor"], &rows[0]["epoch"]), (&json!("1-0000000a:43"), &json!("1-0000000a")));
    let run = node.run("event list --from 9-ff:42").await;
    assert_eq!((run.status, run.err.as_str()), (Some(4), "error: that entry is another one here\n"));
    let run = node.run("event list --from 39").await;
    assert!(run.status == Some(4) && run.err.contains("does not hold entry 39 any more: begin with 40"), "{run:?}");
    let asked: Vec<_> = heard.lock().expect("no panic").iter().filter_map(|heard| heard["from"].as_u64()).collect();
    assert_eq!(asked, [2, 0, 0, 39], "the newest 100 of 44 are all behind the anchor");
}

#[tokio::test]
async fn following_goes_on_behind_the_last_event_and_says_where_it_ended() {
    let (node, _heard) = node();
    let mut command = node.command("event follow --from 40");
    let child = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let mut child = child.expect("acpctl runs");
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().expect("piped")));
    for (at, told) in TOLD.iter().enumerate() {
        let line =
            tokio::time::timeout(crate::node::LIMIT, lines.next_line()).await.expect("it is told").expect("read");
        let line = line.expect("it goes on");
        assert!(line.trim_start().starts_with(&(40 + at).to_string()) && line.contains(told), "{line}");
        assert_eq!(line.contains("-- REFUSED: cpus: 0"), at == 2, "{line}");
    }
    let pid = rustix::process::Pid::from_raw(child.id().expect("it runs").try_into().expect("an id")).expect("an id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("told to end");
    let output =
        tokio::time::timeout(crate::node::LIMIT, child.wait_with_output()).await.expect("it ends").expect("it ran");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    assert!(
        err.starts_with("the log is lost") && err.ends_with("go on with: acpctl event follow --from 1-0000000a:44\n"),
        "{err}"
    );
}

#[tokio::test]
async fn undoing_says_what_and_asks() {
    let (node, heard) = node();
    let run = node.run("event undo 41").await;
    assert_eq!(run.status, Some(64));
    assert!(
        run.err.contains("undo event 41 (changed system web: memory_bytes 256MiB -> 512MiB): that gives the fields"),
        "{}",
        run.err
    );
    let run = node.run("event undo 42 -y").await;
    assert!(run.status == Some(4) && run.err.contains("was refused, so there is nothing to undo"), "{run:?}");
    let run = node.run("event undo 43 -y").await;
    assert!(run.status == Some(4) && run.err.contains("none that created, changed or deleted"), "{run:?}");
    assert_eq!(node.run("event undo 99 -y").await.status, Some(2));
    assert!(!heard.lock().expect("no panic").contains(&json!({ "index": 41 })));
    assert_eq!(node.run("event undo 41 -y").await.success(), "event 41 is undone by event 45\n");
    assert!(heard.lock().expect("no panic").contains(&json!({ "index": 41 })));
}

#[tokio::test]
async fn a_log_that_does_not_verify_fails_loudly() {
    let (node, _heard) = node();
    let run = node.run("event verify").await;
    assert!(run.status == Some(74) && run.out.contains("DOES NOT VERIFY: entry 42"), "{run:?}");
    let run = node.run("event verify -o json").await;
    assert!(run.status == Some(74) && run.out.contains("\"broken_at\": 42"), "{run:?}");
}

#[tokio::test]
async fn objects_of_the_past_are_listed_without_states() {
    let (node, heard) = node();
    let run = node.run("object list system --at 40 --selector spec.node=n2").await;
    let rows: Vec<Vec<&str>> = run.out.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(rows, [vec!["NAME", "CPUS", "MEMORY"], vec!["db", "3", "256MiB"], vec!["web", "3", "256MiB"]]);
    assert!(
        !run.out.contains("STATE") && run.err.contains("entry 40 had been applied, ordered at 2026-11-21T21:34:52Z")
    );
    let selector = json!({ "path": "spec.node", "op": "eq", "value": "n2" });
    let asked = json!({ "kind": "system", "selectors": [selector], "index": 40 });
    assert_eq!(heard.lock().expect("no panic").last(), Some(&asked));
    let rows = node.run("object list system --at 40 -o json").await.json();
    assert_eq!((&rows[1]["name"], &rows[1]["version"], &rows[1]["index"]), (&json!("web"), &json!(40), &json!(40)));
    assert_eq!((&rows[1]["status"], &rows[1]["time_ms"]), (&json!(null), &json!(1_795_296_892_000_u64)));
    let run = node.run("object list system --at 99").await;
    assert_eq!((run.status, run.err.as_str()), (Some(2), "error: entry 99 has not been ordered yet\n"));
    assert_eq!(node.run("object list system --at 0").await.status, Some(64));
}

#[tokio::test]
async fn the_past_of_an_object_is_shown_and_compared() {
    let (node, heard) = node();
    let shown = node.run("object get system web --at 40").await.success();
    assert!(shown.contains("  Memory: 256MiB\n") && !shown.contains("Status"), "{shown}");
    assert_eq!(node.run("object get system web --at 41 -o json").await.json()["spec"]["memory_bytes"], 536_870_912);
    let table = node.run("object diff system web 40 43").await.success();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["FIELD", "OLD", "NEW"], vec!["memory_bytes", "268435456", "536870912"]]);
    assert_eq!(node.run("object diff system web 41 43 -o json").await.json(), json!([]));
    let run = node.run("object diff system web 7 43").await;
    assert_eq!((run.status, run.err.as_str()), (Some(2), "error: at 7: there is none at 7\n"));
    node.run("object get system web --consistent").await.success();
    assert_eq!(heard.lock().expect("no panic").last(), Some(&json!({ "linearizable": true })));
    let leases = node.run("lease list").await.success();
    assert_eq!(
        leases.lines().nth(1).map(|line| line.split_whitespace().take(4).collect()),
        Some(vec!["web", "-", "3", "43"])
    );
}
