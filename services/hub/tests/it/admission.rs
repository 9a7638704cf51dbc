//! Nodes come in.

use std::time::Duration;

use acp_base::{Code, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_pki::{NodeIdentity, NodeKey};
use acp_wire_api::{
    Empty,
    hub::{self as api, CreateTokenRequest, JoinPlan, JoinRequest},
};

use crate::{
    node::{LIMIT, Node, directory, secret, valid},
    peer::{Peer, certificate, newcomer, request},
};

#[tokio::test]
async fn without_a_cluster_it_says_so() {
    let directory = directory();
    let node = Node::founded(directory.path()).await;
    let status = node.status().await;
    assert_eq!((status.cluster, status.revision, status.nodes), (None, 0, 0));
    let told = [
        node.call::<api::ListNodes>(api::NodeFilter::default()).await.map(drop),
        node.call::<api::ListKeys>(Empty {}).await.map(drop),
        node.call::<api::ListTokens>(Empty {}).await.map(drop),
        node.call::<api::Leave>(Empty {}).await.map(drop),
        node.call::<api::WatchDirectory>(api::WatchDirectoryRequest { known: None, epoch: String::new() })
            .await
            .map(drop),
        node.join("token", &Peer::new("n2", 2)).await.map(drop),
    ];
    for told in told {
        let failure = told.expect_err("there is no cluster");
        assert_eq!(failure.code, Code::FailedPrecondition);
        assert!(failure.message.starts_with("there is no cluster here"), "{failure}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_cluster_is_made_once_and_answered_again() {
    let directory = directory();
    let node = Node::founded(directory.path()).await;
    let first = Peer::new("n1", 1);
    let made = node.init(&first).await.expect("a cluster");
    let shown = certificate(&made.certificate);
    let cluster = made.directory.cluster.uid;
    assert_eq!(shown.identity, NodeIdentity { cluster, node: first.uid });
    assert_eq!(shown.key, first.key.fingerprint());
    let life = shown.not_after.as_secs() - shown.not_before.as_secs();
    assert_eq!(life, 48 * 3_600 + acp_io_pki::LEEWAY.as_secs());
    let member = &made.directory.nodes[0];
    assert_eq!((made.directory.revision, member.controller, member.address.as_str()), (2, true, "10.0.0.1:9932"));
    assert_eq!(member.fingerprint, first.key.fingerprint().to_string());
    assert_eq!(node.status().await.cluster, Some(made.directory.cluster.clone()));

    let again = node.init(&first).await.expect("the same");
    assert_eq!(again.directory, made.directory);
    let failure = node.init(&Peer::new("n2", 2)).await.expect_err("there is one");
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::AlreadyExists, "the cluster prod was made here already")
    );
    node.stop().await;
}

#[tokio::test]
async fn a_node_joins_once_with_a_token_for_one_and_may_ask_again() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let (reply, token) = node.token(1).await;
    assert_eq!(reply.token.uses_left, 1);
    let second = Peer { root_key_hash: Some("ab".repeat(32)), ..Peer::new("n2", 2) };
    let planned = plan(&node, &token, &second).await;
    let cluster = node.status().await.cluster.expect("there is one");
    assert_eq!(planned, JoinPlan { cluster, nodes: 1, clashes: vec![], root_key: true });
    assert_eq!(node.nodes().await.len(), 1, "a plan changes nothing");

    let joined = node.join(&token, &second).await.expect("it joins");
    assert_eq!(certificate(&joined.certificate).identity.node, second.uid);
    assert_eq!(joined.directory.revision, 3);
    let key = &joined.directory.keys[0];
    assert_eq!((key.name.as_str(), key.hash.as_str()), ("root@n2", "ab".repeat(32).as_str()));
    assert_eq!(node.join(&token, &second).await.expect("again").directory, joined.directory);
    let failure = node.join(&token, &Peer::new("n3", 3)).await.expect_err("it is used up");
    assert_eq!(failure.code, Code::PermissionDenied);
    assert!(failure.message.contains("admitted as many nodes as it may"), "{failure}");
    node.stop().await;
}

async fn plan(node: &Node, token: &str, peer: &Peer) -> JoinPlan {
    let request = JoinRequest { token: token.to_owned(), node: peer.presents() };
    node.acting(newcomer()).await.call::<api::PlanJoin>(request).await.expect("the token is good")
}

#[tokio::test]
async fn each_clash_is_a_sentence_in_the_plan_and_in_the_refusal() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let (_reply, token) = node.token(10).await;
    let cases = [
        (Peer { name: "n2".to_owned(), ..Peer::new("", 3) }, "a member is called n2 already"),
        (Peer { address: second.address.clone(), ..Peer::new("n3", 3) }, "the address 10.0.0.2:9932 is of member n2"),
        (Peer { uid: second.uid, ..Peer::new("n3", 3) }, "member n2 has this node's id"),
    ];
    for (peer, told) in cases {
        let failure = node.join(&token, &peer).await.expect_err("it clashes");
        assert_eq!(failure.code, Code::AlreadyExists);
        assert!(failure.message.starts_with(told), "{failure}");
        assert_eq!(plan(&node, &token, &peer).await.clashes, [failure.message]);
    }
    assert_eq!(node.nodes().await.len(), 2);
    node.stop().await;
}

#[tokio::test]
async fn a_wrong_or_expired_token_admits_nobody_and_tells_nothing() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let second = Peer::new("n2", 2);
    let failure = node.join("wrong", &second).await.expect_err("nobody made it");
    assert!(failure.code == Code::PermissionDenied && failure.message.contains("not known here"), "{failure}");
    let short = CreateTokenRequest { lifetime_ms: Some(1), uses: None, no_root_key: false };
    let token = secret(&node.call::<api::CreateToken>(short).await.expect("a token").text);
    let expired = wait_for_async("the token's end", LIMIT, async || {
        let request = JoinRequest { token: token.clone(), node: second.presents() };
        let planned = node.acting(newcomer()).await.call::<api::PlanJoin>(request).await;
        seen(planned, Result::is_err)
    });
    let planned = expired.await.expect("a millisecond passes").expect_err("it has expired");
    let failure = node.join(&token, &second).await.expect_err("it has expired");
    assert_eq!(failure, planned);
    assert!(failure.code == Code::PermissionDenied && failure.message.contains("time is over"), "{failure}");
    node.stop().await;
}

#[tokio::test]
async fn what_a_node_says_of_itself_is_checked_before_anything_else() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let (_reply, token) = node.token(1).await;
    let good = Peer::new("n2", 2).presents();
    let mut other_signature = request(&NodeKey::generate().expect("a key"));
    let last = if other_signature.ends_with('0') { "1" } else { "0" };
    other_signature.replace_range(other_signature.len() - 1.., last);
    let cases = [
        (api::Newcomer { signing_request: "xyz".to_owned(), ..good.clone() }, "signing_request"),
        (api::Newcomer { signing_request: "00".to_owned(), ..good.clone() }, "signing_request"),
        (api::Newcomer { signing_request: other_signature, ..good.clone() }, "signing_request"),
        (api::Newcomer { signing_request: "0".repeat(100_000), ..good.clone() }, "signing_request"),
        (api::Newcomer { address: "n2.example:9932".to_owned(), ..good.clone() }, "node.address"),
        (api::Newcomer { address: "10.0.0.2".to_owned(), ..good.clone() }, "node.address"),
        (api::Newcomer { address: "0.0.0.0:9932".to_owned(), ..good.clone() }, "0.0.0.0:9932 is no address"),
        (api::Newcomer { root_key_hash: Some("12".to_owned()), ..good.clone() }, "node.root_key_hash"),
    ];
    for (newcomer_says, told) in cases {
        let request = JoinRequest { token: token.clone(), node: newcomer_says };
        let failure = node.acting(newcomer()).await.call::<api::Join>(request).await.expect_err("it is wrong");
        assert_eq!(failure.code, Code::InvalidArgument, "{failure}");
        assert!(failure.message.starts_with(told), "{failure}");
    }
    let request = JoinRequest { token, node: good };
    node.acting(newcomer()).await.call::<api::Join>(request).await.expect("the token was not used up");
    node.stop().await;
}

#[tokio::test]
async fn nodes_that_join_at_the_same_moment_all_do() {
    /// As many as a rack has.
    const NODES: u8 = 40;
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let (_reply, token) = node.token(u32::from(NODES)).await;
    let peers: Vec<Peer> = (2..2 + NODES).map(|number| Peer::new(&format!("n{number}"), number)).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for peer in &peers {
        let (service, request) = (node.service(), JoinRequest { token: token.clone(), node: peer.presents() });
        tasks.spawn(async move { service.call::<api::Join>(request).await.expect("it joins") });
    }
    let joined = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await.expect("in time");
    let revisions: std::collections::BTreeSet<u64> = joined.iter().map(|joined| joined.directory.revision).collect();
    assert!(revisions.iter().all(|revision| (3..=u64::from(NODES) + 2).contains(revision)), "{revisions:?}");
    let directory = node.directory().await;
    assert_eq!((directory.nodes.len(), directory.revision), (usize::from(NODES) + 1, u64::from(NODES) + 2));
    assert!(
        node.call::<api::ListTokens>(Empty {}).await.expect("a list").tokens.iter().all(|token| token.uses_left == 100)
    );
    let absent = Uid::from_u128(250);
    assert!(directory.nodes.iter().all(|member| member.uid != absent && member.name != valid("n250")));
    node.stop().await;
}
