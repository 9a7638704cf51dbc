//! What a hub says of voters, requests and roles.

use std::sync::{Arc, Mutex};

use acp_base::Uid;
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty, Method,
    hub::{self, JoinAsked, ListRequestsReply, QuorumStatus, VoterStatus},
};
use serde_json::json;

use super::node::State;

type Shared = Arc<Mutex<State>>;

fn note<M: Method<Reply = Empty>>(router: &mut Router, state: &Shared) {
    let state = Arc::clone(state);
    router.once::<M, _, _>(move |call| {
        state.lock().expect("no panic").asked.push(json!({ M::NAME: call.request }));
        std::future::ready(Ok(Empty {}))
    });
}

fn quorum(leader: &str) -> QuorumStatus {
    let voter = VoterStatus {
        uid: Uid::from_u128(2),
        name: "n2".into(),
        role: "follower".into(),
        behind: Some(7),
        heard_ms: None,
    };
    QuorumStatus {
        node: "test".parse().expect("a name"),
        epoch: "1-0000000a".into(),
        term: 3,
        leader: leader.parse().ok(),
        degraded: String::new(),
        applied: 9,
        wanted: 3,
        voters: vec![voter],
    }
}

pub(super) fn add(router: &mut Router, state: &Shared) {
    router.once::<hub::GetQuorum, _, _>(|_call| std::future::ready(Ok(quorum("test"))));
    router.once::<hub::Transfer, _, _>(|call| {
        std::future::ready(Ok(quorum(call.request.to.as_ref().map_or("n3", |to| to.as_str()))))
    });
    note::<hub::Park>(router, state);
    note::<hub::Rename>(router, state);
    note::<hub::Approve>(router, state);
    note::<hub::SetRole>(router, state);
    note::<hub::SetMetadata>(router, state);
    router.once::<hub::ListRequests, _, _>(|_call| {
        let asked = JoinAsked {
            request: Uid::from_u128(0xa5),
            node: Uid::from_u128(4),
            name: "n4".parse().expect("a name"),
            address: "10.9.0.4:9932".into(),
            fingerprint: "dd".repeat(32),
            asked_ms: 1,
            until_ms: 2,
        };
        std::future::ready(Ok(ListRequestsReply { requests: vec![asked] }))
    });
}
