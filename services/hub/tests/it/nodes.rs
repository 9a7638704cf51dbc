//! Members come online, and go.

use acp_base::Code;
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    Empty, Scope,
    hub::{self as api, NodeRequest},
    principal::PrincipalKind,
};

use crate::{
    node::{LIMIT, Node, directory, valid},
    peer::{Peer, key, newcomer},
};

/// Who is online, in the order of names.
async fn online(node: &Node) -> Vec<bool> {
    node.nodes().await.iter().map(|node| node.online).collect()
}

#[tokio::test]
async fn a_member_is_online_while_it_watches() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    assert_eq!(online(&node).await, [false, false]);
    let mut watch = node.acting(second.principal(PrincipalKind::Node)).await.watch(None).await;
    watch.next_directory().await.expect("it comes first");
    let nodes = node.nodes().await;
    assert_eq!((nodes[1].online, nodes[1].node.uid, node.status().await.online), (true, second.uid, 1));
    assert!(nodes[1].for_ms.is_some_and(|for_ms| for_ms < 20_000), "since it watches");
    assert_eq!(nodes[0].for_ms, None, "it was not seen");
    drop(watch);
    let gone = wait_for_async("n2 to be offline", LIMIT, async || seen(online(&node).await, |online| !online[1]));
    gone.await.expect("its connection is closed");
    assert!(node.nodes().await[1].for_ms.is_some(), "it was seen");
    node.stop().await;
}

#[tokio::test]
async fn a_member_leaves_or_is_removed_with_its_roots_key() {
    let directory = directory();
    let second = Peer { root_key_hash: Some("ab".repeat(32)), ..Peer::new("n2", 2) };
    let third = Peer { root_key_hash: Some("cd".repeat(32)), ..Peer::new("n3", 3) };
    let (node, _first) = Node::with_members(directory.path(), &[&second, &third]).await;
    assert_eq!(node.directory().await.keys.len(), 2);
    let leave = node.acting(second.principal(PrincipalKind::Node)).await.call::<api::Leave>(Empty {}).await;
    leave.expect("it may leave");
    node.call::<api::RemoveNode>(NodeRequest { name: valid("n3") }).await.expect("root may");
    let told = node.directory().await;
    assert_eq!((told.nodes.len(), told.keys.len(), told.removed), (1, 0, vec![second.uid, third.uid]));
    let missing = node.call::<api::RemoveNode>(NodeRequest { name: valid("n3") }).await.expect_err("it is gone");
    assert_eq!((missing.code, missing.message.as_str()), (Code::NotFound, "no member is called n3"));

    let (_reply, token) = node.token(1).await;
    let failure = node.join(&token, &Peer { uid: second.uid, ..Peer::new("n4", 4) }).await.expect_err("its id is gone");
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert!(failure.message.contains("key"), "{failure}");
    let back = node.join(&token, &second).await.expect("with its own key and a token it may come back");
    assert_eq!((back.directory.nodes.len(), back.directory.removed), (2, vec![third.uid]));
    node.stop().await;
}

#[tokio::test]
async fn the_last_controller_stays() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let refused = [
        node.call::<api::Leave>(Empty {}).await,
        node.acting(first.principal(PrincipalKind::Node)).await.call::<api::Leave>(Empty {}).await,
        node.call::<api::RemoveNode>(NodeRequest { name: valid("n1") }).await,
    ];
    for refused in refused {
        let failure = refused.expect_err("nobody else signs");
        assert_eq!(failure.code, Code::FailedPrecondition);
        assert!(failure.message.starts_with("n1 is the only controller"), "{failure}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_node_or_a_newcomer_may_change_nothing_else() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let remove = || NodeRequest { name: valid("n2") };
    let token = || api::CreateTokenRequest { lifetime_ms: None, uses: None, no_root_key: false };
    let writer = key("ci", Scope::Write);
    for principal in
        [second.principal(PrincipalKind::Node), second.principal(PrincipalKind::Renewal), newcomer(), writer]
    {
        let mut acting = node.acting(principal.clone()).await;
        let refused = [
            acting.call::<api::RemoveNode>(remove()).await.map(drop),
            acting.call::<api::CreateToken>(token()).await.map(drop),
            acting.call::<api::ListTokens>(Empty {}).await.map(drop),
        ];
        for refused in refused {
            assert_eq!(refused.expect_err("it is admin's").code, Code::PermissionDenied, "{principal:?}");
        }
    }
    let mut admin = node.acting(key("boss", Scope::Admin)).await;
    let failure = admin.call::<api::Leave>(Empty {}).await.expect_err("a key is no node");
    assert_eq!(failure.code, Code::PermissionDenied);
    admin.call::<api::RemoveNode>(remove()).await.expect("an admin may");
    node.stop().await;
}
