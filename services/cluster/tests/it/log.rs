//! The log as it is read and verified.

use acp_base::Code;
use acp_cluster::Config;
use acp_wire_api::{
    Empty,
    cluster::{self as api, LogEntry, ReadLogRequest},
};
use acp_wire_model::Kind;

use crate::node::{LIMIT, Node, directory, next, system};

async fn read(node: &Node, from: u64) -> Result<Vec<LogEntry>, acp_base::Failure> {
    let mut replies =
        node.service().stream::<api::ReadLog>(ReadLogRequest { from, cursor: None, follow: false }).await?;
    let mut entries = Vec::new();
    while let Some(reply) = next(&mut replies).await {
        entries.extend(reply?.entries);
    }
    Ok(entries)
}

#[tokio::test]
async fn entries_say_who_what_and_what_came_of_it() {
    let directory = directory();
    let node = Node::start(directory.path());
    for number in 0..150 {
        node.create(Kind::System, &format!("s{}", number % 149), system()).await.err();
    }
    let entries = read(&node, 1).await.expect("readable");
    assert_eq!(entries.len(), 151);
    for (entry, index) in entries.iter().zip(1..) {
        assert_eq!(entry.entry["index"], index);
        assert_eq!(entry.refused.is_some(), index == 151, "entry {index}");
    }
    assert_eq!(entries[0].entry["actor"], "hub");
    assert_eq!((&entries[1].entry["actor"], &entries[1].entry["action"]["name"]), (&"root".into(), &"s0".into()));
    assert_eq!(entries[150].refused.as_deref(), Some("a system named \"s0\" exists already"));
    let verified = node.service().call::<api::VerifyLog>(Empty {}).await.expect("verified");
    assert_eq!((verified.first, verified.last, verified.broken_at), (1, 151, None));
    assert_eq!(verified.hash, entries[150].hash);
    assert!(read(&node, 152).await.expect("past the end").is_empty());
    assert_eq!(read(&node, 0).await.expect_err("no entry 0").code, Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn a_follower_gets_new_entries_as_they_come() {
    let directory = directory();
    let node = Node::start(directory.path());
    let mut replies = node
        .service()
        .stream::<api::ReadLog>(ReadLogRequest { from: 2, cursor: None, follow: true })
        .await
        .expect("open");
    for number in 0..3 {
        node.create(Kind::System, &format!("s{number}"), system()).await.expect("free");
    }
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let reply = next(&mut replies).await.expect("goes on").expect("no error");
        seen.extend(reply.entries.into_iter().map(|entry| entry.entry["index"].as_u64()));
    }
    assert_eq!(seen, [Some(2), Some(3), Some(4)]);
    node.stop().await;
}

#[tokio::test]
async fn what_retention_removed_is_said_and_a_start_needs_it_not() {
    let directory = directory();
    let config = Config { retention_mib: 0, snapshot_entries: 10, ..Config::default() };
    let node = Node::start_with(directory.path(), config.clone());
    for number in 0..25 {
        node.create(Kind::System, &format!("s{number}"), system()).await.expect("free");
    }
    let deadline = tokio::time::Instant::now() + LIMIT;
    let failure = loop {
        match read(&node, 1).await {
            Err(failure) => break failure,
            Ok(entries) => assert!(tokio::time::Instant::now() < deadline, "{} entries are still kept", entries.len()),
        }
    };
    assert!(failure.code == Code::FailedPrecondition && failure.message.contains("are no longer kept"), "{failure}");
    let status = node.status().await;
    node.stop().await;
    let node = Node::start_with(directory.path(), config);
    let again = node.status().await;
    assert_eq!((again.index, again.hash, again.objects), (status.index, status.hash, status.objects));
    let verified = node.service().call::<api::VerifyLog>(Empty {}).await.expect("verified");
    assert!(verified.first > 10 && verified.last == status.index && verified.broken_at.is_none(), "{verified:?}");
    node.stop().await;
}
