//! Nodes that ask without a token.

use acp_base::{Code, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_hub::Config;
use acp_wire_api::{
    Empty,
    hub::{self as api, JoinAnswer, JoinOutcome, RequestJoin, RequestJoinRequest, TokenRequest},
};

use crate::{
    node::{Acting, LIMIT, Node, directory},
    peer::{Peer, newcomer},
};

async fn ask(node: &Node, peer: &Peer, wait_ms: u64) -> Acting {
    let request = RequestJoinRequest { node: peer.presents(), wait_ms };
    node.acting(newcomer()).await.stream::<RequestJoin>(&request).await
}

async fn answer(asking: &mut Acting) -> JoinAnswer {
    asking.next::<RequestJoin>().await.expect("an answer").0
}

async fn waiting(asking: &mut Acting) -> Uid {
    let answer = answer(asking).await;
    assert_eq!((answer.outcome, answer.admitted), (JoinOutcome::Waiting, None));
    answer.request
}

#[tokio::test]
async fn an_operator_lets_a_node_in_or_turns_it_away() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let (second, third) = (Peer::new("n2", 2), Peer::new("n3", 3));
    let (mut one, mut other) = (ask(&node, &second, 60_000).await, ask(&node, &third, 60_000).await);
    let (first_request, second_request) = (waiting(&mut one).await, waiting(&mut other).await);
    let asked = node.call::<api::ListRequests>(Empty {}).await.expect("a list").requests;
    let told: Vec<_> = asked.iter().map(|asked| (asked.request, asked.fingerprint.clone())).collect();
    let shown = |peer: &Peer| peer.key.fingerprint().to_string();
    assert_eq!(told, [(first_request, shown(&second)), (second_request, shown(&third))]);

    node.call::<api::Approve>(TokenRequest { uid: first_request }).await.expect("it waits");
    node.call::<api::Reject>(TokenRequest { uid: second_request }).await.expect("it waits");
    let admitted = answer(&mut one).await;
    assert_eq!(admitted.outcome, JoinOutcome::Admitted);
    assert_eq!(admitted.admitted.expect("a certificate").directory.nodes.len(), 2);
    let rejected = answer(&mut other).await;
    assert_eq!((rejected.outcome, rejected.admitted), (JoinOutcome::Rejected, None));

    let again = answer(&mut ask(&node, &second, 60_000).await).await;
    assert_eq!((again.outcome, again.admitted.is_some()), (JoinOutcome::AlreadyJoined, true));
    let failure = node.call::<api::Approve>(TokenRequest { uid: second_request }).await.expect_err("it is answered");
    assert_eq!(failure.code, Code::NotFound);
    node.stop().await;
}

#[tokio::test]
async fn who_is_not_answered_is_told_and_may_ask_again_under_the_same_request() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let second = Peer::new("n2", 2);
    let mut asking = ask(&node, &second, 60_000).await;
    let request = waiting(&mut asking).await;
    drop(asking);
    let mut asking = ask(&node, &second, 200).await;
    assert_eq!(waiting(&mut asking).await, request, "the same node with the same key");
    assert_eq!(answer(&mut asking).await.outcome, JoinOutcome::Unanswered);
    let over = wait_for_async("the end of the request", LIMIT, async || {
        seen(node.call::<api::ListRequests>(Empty {}).await.expect("a list").requests, Vec::is_empty)
    });
    over.await.expect("its time is over");
    let mut clash = ask(&node, &Peer::new("n1", 9), 200).await;
    assert_eq!(clash.next::<RequestJoin>().await.expect_err("the name is taken").code, Code::AlreadyExists);
    node.stop().await;
}

#[tokio::test]
async fn where_requests_are_not_taken_nobody_waits() {
    let directory = directory();
    let node = Node::start_with(directory.path(), Config { requests: false, ..Config::default() });
    let first = Peer::new("n1", 1);
    node.found(&first).await.expect("a log");
    node.init(&first).await.expect("a cluster");
    let told = answer(&mut ask(&node, &Peer::new("n2", 2), 60_000).await).await;
    assert_eq!(told.outcome, JoinOutcome::Disabled);
    assert_eq!(node.call::<api::ListRequests>(Empty {}).await.expect("a list").requests, []);
    node.stop().await;
}
