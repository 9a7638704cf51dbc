//! Entries into the log, and whose they may be.

use acp_base::{Code, Failure, Uid};
use acp_wire_api::{
    Empty,
    hub::{self as api, Proposal, ProposeRequest, Proposed},
    principal::PrincipalKind,
};
use serde_json::{Value, json};

use crate::{
    node::{Node, directory},
    peer::Peer,
};

fn pool(number: u128, node: &str) -> Value {
    let spec = json!({ "driver": "directory", "path": format!("/srv/{number}"), "node": node });
    json!({ "type": "create", "kind": "pool", "name": format!("p{number}"), "uid": Uid::from_u128(number + (1 << 64)), "spec": spec })
}

fn request(actor: &str, actions: impl IntoIterator<Item = Value>) -> ProposeRequest {
    let proposal = |action| Proposal { actor: actor.to_owned(), request: "r1".to_owned(), action };
    ProposeRequest { entries: actions.into_iter().map(proposal).collect() }
}

fn code(outcome: &Proposed) -> Option<&str> {
    outcome.code.as_deref()
}

async fn propose(node: &Node, actions: Vec<Value>) -> Result<Vec<Proposed>, Failure> {
    node.call::<api::Propose>(request("root", actions)).await.map(|reply| reply.outcomes)
}

#[tokio::test]
async fn each_entry_is_answered_with_its_index_and_what_apply_decided() {
    let directory = directory();
    let node = Node::founded(directory.path()).await;
    let first = node.applied().await + 1;
    let genesis =
        json!({ "type": "genesis", "cluster": Uid::from_u128(1), "node": Uid::from_u128(2), "node_name": "x" });
    let horizon = json!({ "type": "horizon", "epoch": { "number": 9, "id": Uid::from_u128(9) }, "reason": "recover" });
    let actions = vec![pool(1, "n1"), genesis, pool(1, "n1"), json!({ "type": "nonsense" }), horizon, pool(2, "n1")];
    let outcomes = propose(&node, actions).await.expect("answered");
    let indices: Vec<u64> = outcomes.iter().map(|outcome| outcome.index).collect();
    assert_eq!(indices, [first, 0, first + 1, 0, 0, first + 2], "{outcomes:?}");
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    let denied = Some("PermissionDenied");
    assert_eq!(codes, [None, denied, Some("AlreadyExists"), Some("InvalidArgument"), denied, None], "{outcomes:?}");
    assert_eq!(node.applied().await, first + 2);
    let read = node.call::<api::ReadIndex>(Empty {}).await.expect("it leads");
    assert_eq!(read.index, first + 2);
    node.stop().await;

    let node = Node::start(directory.path());
    assert_eq!(node.applied().await, first + 2, "what was acknowledged is there");
    let outcomes = propose(&node, vec![pool(2, "n1"), pool(3, "n1")]).await.expect("answered");
    assert_eq!((code(&outcomes[0]), outcomes[1].index), (Some("AlreadyExists"), first + 4));
    node.stop().await;
}

#[tokio::test]
async fn a_hundred_writers_get_a_hundred_indices() {
    let directory = directory();
    let node = Node::founded(directory.path()).await;
    let first = node.applied().await + 1;
    let writers = (0..100).map(|number| propose(&node, vec![pool(1_000 + number, "n1")]));
    let outcomes = futures_util::future::join_all(writers).await;
    let mut indices: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.expect("answered")[0].index).collect();
    indices.sort_unstable();
    assert_eq!(indices, (first..first + 100).collect::<Vec<_>>());
    node.stop().await;
}

#[tokio::test]
async fn too_much_at_once_is_refused_whole() {
    let directory = directory();
    let node = Node::founded(directory.path()).await;
    let before = node.applied().await;
    let many = (0..513).map(|number| pool(number, "n1")).collect();
    let long = "x".repeat(1 << 20);
    assert_eq!(propose(&node, many).await.expect_err("too many").code, Code::InvalidArgument);
    let long = vec![json!({ "type": "create", "text": long })];
    assert_eq!(propose(&node, long).await.expect_err("too long").code, Code::ResourceExhausted);
    assert_eq!(node.applied().await, before);
    node.stop().await;
}

#[tokio::test]
async fn a_member_speaks_for_what_is_its_own_and_a_stranger_for_nothing() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, first) = Node::with_members(directory.path(), &[&second]).await;
    let mut member = node.acting(second.principal(PrincipalKind::Node)).await;
    let command = json!({ "type": "membership", "command": { "type": "remove", "name": "n1" } });
    let actions = [pool(1, "n2"), pool(2, "n1"), command];
    let outcomes = member.call::<api::Propose>(request("root", actions)).await.expect("answered").outcomes;
    let denied = Some("PermissionDenied");
    assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), [None, denied, denied], "{outcomes:?}");
    let mut controller = node.acting(first.principal(PrincipalKind::Node)).await;
    let outcomes = controller.call::<api::Propose>(request("key ci", [pool(3, "n2")])).await.expect("answered");
    assert_eq!(outcomes.outcomes.iter().map(code).collect::<Vec<_>>(), [None], "it has authorised it");
    let stranger = Peer::new("n9", 9);
    let mut stranger = node.acting(stranger.principal(PrincipalKind::Node)).await;
    let refused = stranger.call::<api::Propose>(request("root", [pool(4, "n9")])).await.expect_err("no member");
    assert_eq!(refused.code, Code::PermissionDenied);
    node.stop().await;
}
