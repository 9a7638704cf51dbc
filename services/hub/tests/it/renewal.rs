//! Certificates are renewed: by members, for the key that they joined with.

use acp_base::Code;
use acp_hub::Config;
use acp_io_pki::NodeKey;
use acp_wire_api::{
    Empty, Scope,
    hub::{self as api, NodeRequest, RenewCertificate, RenewCertificateRequest},
    principal::{Principal, PrincipalKind},
};

use crate::{
    node::{Node, directory, valid},
    peer::{Peer, certificate, key, request},
};

fn asks(key: &NodeKey) -> RenewCertificateRequest {
    RenewCertificateRequest { signing_request: request(key) }
}

#[tokio::test]
async fn a_member_renews_with_its_own_key_however_it_comes() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, first) = Node::with_members(directory.path(), &[&second]).await;
    for kind in [PrincipalKind::Node, PrincipalKind::Renewal] {
        let mut acting = node.acting(second.principal(kind)).await;
        let reply = acting.call::<RenewCertificate>(asks(&second.key)).await.expect("renewed");
        let fresh = certificate(&reply.certificate);
        assert_eq!((fresh.identity.node, fresh.key), (second.uid, second.key.fingerprint()));
    }
    let own = node.call::<RenewCertificate>(asks(&first.key)).await.expect("its own agent renews for the hub's node");
    assert_eq!(certificate(&own.certificate).identity.node, first.uid);
    let revision = node.directory().await.revision;
    assert_eq!(revision, 3, "a renewal changes nothing that others are told");
    node.stop().await;
}

#[tokio::test]
async fn nobody_renews_with_another_key_or_for_another_node() {
    let directory = directory();
    let (second, third) = (Peer::new("n2", 2), Peer::new("n3", 3));
    let (node, _first) = Node::with_members(directory.path(), &[&second, &third]).await;
    let fresh = NodeKey::generate().expect("a key");
    let expired = second.principal(PrincipalKind::Renewal);
    let cases: [(Principal, &NodeKey); 5] = [
        (second.principal(PrincipalKind::Node), &fresh),
        (second.principal(PrincipalKind::Node), &third.key),
        (expired.clone(), &fresh),
        (Principal { fingerprint: None, ..expired.clone() }, &second.key),
        (Principal { fingerprint: Some(third.key.fingerprint().to_string()), ..expired }, &second.key),
    ];
    for (principal, key) in cases {
        let refused = node.acting(principal.clone()).await.call::<RenewCertificate>(asks(key)).await;
        let failure = refused.expect_err("it is another key");
        assert_eq!(failure.code, Code::PermissionDenied, "{principal:?}");
        assert!(failure.message.contains("not the key that n2 joined with"), "{failure}");
    }
    let mut admin = node.acting(key("boss", Scope::Admin)).await;
    let failure = admin.call::<RenewCertificate>(asks(&second.key)).await.expect_err("a key is no node");
    assert_eq!(failure.code, Code::PermissionDenied);
    node.stop().await;
}

#[tokio::test]
async fn who_is_gone_renews_no_more() {
    let directory = directory();
    let (second, third) = (Peer::new("n2", 2), Peer::new("n3", 3));
    let (node, _first) = Node::with_members(directory.path(), &[&second, &third]).await;
    node.call::<api::RemoveNode>(NodeRequest { name: valid("n2") }).await.expect("it is a member");
    node.acting(third.principal(PrincipalKind::Node)).await.call::<api::Leave>(Empty {}).await.expect("it may leave");
    for peer in [second, third] {
        for kind in [PrincipalKind::Node, PrincipalKind::Renewal] {
            let refused = node.acting(peer.principal(kind)).await.call::<RenewCertificate>(asks(&peer.key)).await;
            let failure = refused.expect_err("it is gone");
            assert_eq!(failure.code, Code::PermissionDenied);
            assert!(failure.message.contains("is no member"), "{failure}");
        }
    }
    node.stop().await;
}

#[tokio::test]
async fn certificates_count_as_long_as_configured() {
    let directory = directory();
    let node = Node::start_with(directory.path(), Config { certificate_lifetime_s: 30, ..Config::default() });
    let first = Peer::new("n1", 1);
    node.found(&first).await.expect("a log");
    let made = node.init(&first).await.expect("a cluster");
    let shown = certificate(&made.certificate);
    assert_eq!(shown.not_after.as_secs() - shown.not_before.as_secs(), 30 + acp_io_pki::LEEWAY.as_secs());
    node.stop().await;
    let node = Node::start_with(directory.path(), Config { certificate_lifetime_s: 5, ..Config::default() });
    assert!(node.failure().await.to_string().starts_with("certificate_lifetime_s: 5"), "it is out of range");
}
