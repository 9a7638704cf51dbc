//! Who may run a floating system.

use std::time::{Duration, Instant};

use acp_base::{Code, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    hub::{self as api, HeldLease, LeaseAnswer, Proposal, ProposeRequest, RenewSessionReply, RenewSessionRequest},
    principal::PrincipalKind,
};
use serde_json::json;

use crate::{
    node::{Acting, LIMIT, Node, directory},
    peer::Peer,
};

const SYSTEM: Uid = Uid::from_u128(77);

/// How long a session lives.
const TTL: Duration = Duration::from_secs(8);

async fn declare(node: &Node) {
    let spec = json!({ "node": "n1", "cpus": 1, "memory_bytes": 64 << 20, "disks": [], "nics": [], "floating": true });
    let action = json!({ "type": "create", "kind": "system", "name": "a", "uid": SYSTEM, "spec": spec });
    let entries = vec![Proposal { actor: "root".to_owned(), request: String::new(), action }];
    let outcomes = node.call::<api::Propose>(ProposeRequest { entries }).await.expect("answered").outcomes;
    assert_eq!(outcomes[0].refused, None);
}

fn request(wanted: &[Uid], released: &[HeldLease]) -> RenewSessionRequest {
    RenewSessionRequest { incarnation: 1, held: Vec::new(), wanted: wanted.to_vec(), released: released.to_vec() }
}

fn only(reply: RenewSessionReply) -> LeaseAnswer {
    assert_eq!((reply.ttl_ms, reply.pause_ms, reply.kill_ms), (8_000, 4_000, 5_500));
    reply.leases.into_iter().next().expect("an answer")
}

async fn renew(acting: &mut Acting, request: RenewSessionRequest) -> LeaseAnswer {
    only(acting.call::<api::RenewSession>(request).await.expect("it leads"))
}

#[tokio::test]
async fn one_node_has_it_until_it_gives_it_back_or_falls_silent() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    declare(&node).await;
    let wanted = request(&[SYSTEM], &[]);
    let granted = only(node.call::<api::RenewSession>(wanted.clone()).await.expect("it leads"));
    let term = granted.term.expect("nobody else has it");

    let mut other = node.acting(second.principal(PrincipalKind::Node)).await;
    let refused = renew(&mut other, wanted.clone()).await;
    assert_eq!(refused.term, None);
    assert!(refused.reason.contains("n1 has its lease"), "{}", refused.reason);

    let released = request(&[], &[HeldLease { system: SYSTEM, term }]);
    let reply = node.call::<api::RenewSession>(released).await.expect("it leads");
    assert_eq!(reply.leases, [], "nothing is left");
    let refused = renew(&mut other, wanted.clone()).await;
    assert_eq!(refused.term, None, "it is declared on n1");
    let taken = only(node.call::<api::RenewSession>(wanted.clone()).await.expect("it leads"));
    assert!(taken.term > Some(term), "each grant has a term of its own");

    let (silent, before) = (Instant::now(), node.applied().await);
    let revoked = wait_for_async("the lease of a silent node to be taken back", LIMIT, async || {
        seen(node.applied().await, |applied| *applied > before)
    });
    revoked.await.expect("its time is over");
    assert!(silent.elapsed() >= TTL - Duration::from_millis(500), "taken after {:?}", silent.elapsed());
    let refused = other.call::<api::RenewSession>(RenewSessionRequest { incarnation: 0, ..wanted }).await;
    assert_eq!(refused.expect_err("an earlier life of its hypervisor").code, Code::Conflict);
    node.stop().await;
}
