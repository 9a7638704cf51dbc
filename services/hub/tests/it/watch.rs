//! The directory, told to the members.

use std::time::{Duration, Instant};

use acp_base::Code;
use acp_wire_api::{
    Scope,
    hub::{self as api, CreateKeyRequest, KeyRequest, NodeRequest, WatchDirectory},
    principal::PrincipalKind,
};

use crate::{
    node::{Node, directory, valid},
    peer::Peer,
};

/// What the interface promises.
const SILENCE_MAX: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_state_comes_first_then_each_newer_one_and_signs_of_life_between() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let mut watch = node.acting(second.principal(PrincipalKind::Node)).await.watch(None).await;
    let (told, continues) = watch.next_directory().await.expect("it comes first");
    assert_eq!((told.revision, told.nodes.len(), continues), (3, 2, true));

    let request = CreateKeyRequest { name: valid("ci"), scope: Scope::Read, lifetime_ms: None };
    let made = node.call::<api::CreateKey>(request).await.expect("a key");
    let (told, _continues) = watch.next_directory().await.expect("it is newer");
    assert_eq!((told.revision, told.keys), (4, vec![made.key]));
    let key = KeyRequest { name: "ci".to_owned() };
    node.call::<api::RevokeKey>(key).await.expect("it is there");
    assert_eq!(watch.next_directory().await.expect("it is newer").0.keys, []);

    // Tokens are nobody else's business, and do not put off the next sign of life.
    let heard = Instant::now();
    node.token(1).await;
    let (reply, _continues) = watch.next::<WatchDirectory>().await.expect("a sign of life");
    assert_eq!(reply.directory, None);
    assert!(heard.elapsed() < SILENCE_MAX, "{:?} of silence", heard.elapsed());
    node.stop().await;
}

#[tokio::test]
async fn what_a_watcher_knows_is_not_sent_again() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let principal = || second.principal(PrincipalKind::Node);
    let asked = Instant::now();
    let mut watch = node.acting(principal()).await.watch(Some(3)).await;
    let (reply, _continues) = watch.next::<WatchDirectory>().await.expect("a sign of life");
    assert_eq!(reply.directory, None);
    assert!(asked.elapsed() < Duration::from_millis(1_000), "it waited {:?}", asked.elapsed());
    for other in [2, 4] {
        let mut watch = node.acting(principal()).await.watch(Some(other)).await;
        let (reply, _continues) = watch.next::<WatchDirectory>().await.expect("the directory");
        assert_eq!(reply.directory.map(|directory| directory.revision), Some(3), "whoever knows {other}");
    }
    node.stop().await;
}

#[tokio::test]
async fn who_is_taken_out_is_told_and_watches_no_more() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let mut watch = node.acting(second.principal(PrincipalKind::Node)).await.watch(None).await;
    watch.next_directory().await.expect("it comes first");
    node.call::<api::RemoveNode>(NodeRequest { name: valid("n2") }).await.expect("it is a member");
    let (last, continues) = watch.next_directory().await.expect("the last one");
    assert_eq!((last.removed, continues), (vec![second.uid], false));
    let mut again = node.acting(second.principal(PrincipalKind::Node)).await.watch(None).await;
    let failure = again.next_directory().await.expect_err("it is gone");
    assert_eq!(failure.code, Code::PermissionDenied);
    assert_eq!(node.status().await.online, 0);
    node.stop().await;
}

#[tokio::test]
async fn the_oldest_watch_of_a_member_makes_room_for_the_third() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let mut watches = Vec::new();
    for _watch in 0..3 {
        let mut watch = node.acting(second.principal(PrincipalKind::Node)).await.watch(None).await;
        watch.next_directory().await.expect("it comes first");
        watches.push(watch);
    }
    let ended = watches[0].next_directory().await.expect_err("it has made room");
    assert_eq!(ended.code, Code::Cancelled);
    for watch in &mut watches[1..] {
        watch.next::<WatchDirectory>().await.expect("it goes on");
    }
    assert_eq!(node.status().await.online, 1);
    node.stop().await;
}
