//! The log, told to replicas.

use acp_base::{Code, from_base64};
use acp_core_cdb::{Outcome, State};
use acp_wire_api::{
    Scope,
    cluster::{FollowReply, FollowRequest},
    hub::{self as api, CreateKeyRequest, Follow, FoundReply},
    principal::PrincipalKind,
};

use crate::{
    node::{Node, directory, valid},
    peer::Peer,
};

async fn key(node: &Node, name: &str) {
    let request = CreateKeyRequest { name: valid(name), scope: Scope::Read, lifetime_ms: None };
    node.call::<api::CreateKey>(request).await.expect("a key");
}

/// Takes a reply up into a replica.
fn take(state: &mut State, snapshot: &mut Vec<u8>, reply: &FollowReply) {
    if let Some(piece) = &reply.snapshot {
        snapshot.truncate(usize::try_from(piece.offset).expect("small"));
        snapshot.extend(from_base64(&piece.bytes).expect("base64"));
        if u64::try_from(snapshot.len()).expect("small") == piece.total {
            *state = State::restore(snapshot).expect("a state");
            assert_eq!(state.index(), piece.index);
        }
    }
    for entry in &reply.entries {
        let outcome = state.apply(&from_base64(entry).expect("base64"));
        assert!(!matches!(outcome, Outcome::Stalled(_)), "{outcome:?}");
    }
}

/// Follows from where the replica stands until it has an index; answers whether that took a snapshot.
async fn follow(node: &Node, state: &mut State, from: FollowRequest, index: u64) -> bool {
    let mut replies = node.service().stream::<Follow>(from).await.expect("it begins");
    let (mut snapshot, mut bytes) = (false, Vec::new());
    while state.index() < index {
        let reply = replies.next().await.expect("it goes on").expect("a reply");
        snapshot |= reply.snapshot.is_some();
        take(state, &mut bytes, &reply);
    }
    snapshot
}

fn from_the_beginning(founded: FoundReply) -> FollowRequest {
    let FoundReply { cluster, epoch, .. } = founded;
    FollowRequest { cluster, epoch, index: 0, hash: "00".repeat(32), any_cluster: false }
}

fn standing(state: &State) -> FollowRequest {
    let identity = state.identity().expect("it has begun");
    FollowRequest {
        cluster: identity.cluster,
        epoch: identity.epoch.to_string(),
        index: state.index(),
        hash: state.hash().to_string(),
        any_cluster: false,
    }
}

#[tokio::test]
async fn a_replica_goes_on_where_it_stands_also_after_a_restart() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let founded = node.found(&first).await.expect("the same again");
    let from = from_the_beginning(founded);
    let mut state = State::default();
    assert!(!follow(&node, &mut state, from, node.applied().await).await, "every entry is there still");
    assert_eq!(state.members().members().len(), 1);
    key(&node, "k1").await;
    let last = node.applied().await;
    let from = standing(&state);
    node.stop().await;
    let node = Node::start(directory.path());
    assert!(!follow(&node, &mut state, from, last).await, "the log is read back");
    assert_eq!(state.directory().expect("a cluster").keys[0].name, "k1");
    node.stop().await;
}

#[tokio::test]
async fn who_is_on_another_chain_is_sent_the_state() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let founded = node.found(&first).await.expect("the same again");
    let last = node.applied().await;
    let strayed = FollowRequest {
        cluster: founded.cluster,
        epoch: founded.epoch.clone(),
        index: 1,
        hash: "ab".repeat(32),
        any_cluster: false,
    };
    let mut state = State::default();
    assert!(follow(&node, &mut state, strayed.clone(), last).await, "its history is another one");
    key(&node, "k1").await;
    let from = standing(&state);
    assert!(!follow(&node, &mut state, from, last + 1).await);

    let refused = async |request: FollowRequest| {
        let mut replies = node.service().stream::<Follow>(request).await.expect("it begins");
        replies.next().await.expect("an answer").expect_err("it is refused").code
    };
    let newer = FollowRequest { epoch: "2-00000000".to_owned(), ..strayed.clone() };
    assert_eq!(refused(newer).await, Code::Unavailable, "this hub is behind");
    let other = FollowRequest { cluster: first.uid, ..strayed };
    assert_eq!(refused(other.clone()).await, Code::FailedPrecondition, "another cluster's");
    let mut anew = State::default();
    let any = FollowRequest { any_cluster: true, ..other };
    assert!(follow(&node, &mut anew, any, last + 1).await, "whoever takes any log is sent the state of this one");
    node.stop().await;
}

#[tokio::test]
async fn whoever_has_everything_is_told_so_at_once_and_again_and_again() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, first) = Node::with_members(directory.path(), &[&second]).await;
    let founded = node.found(&first).await.expect("the same again");
    let from = from_the_beginning(founded);
    let acting = node.acting(second.principal(PrincipalKind::Node)).await;
    let mut follower = acting.stream::<Follow>(&from).await;
    let (mut state, last) = (State::default(), node.applied().await);
    let mut checkpoint = None;
    while state.index() < last {
        let (reply, _continues) = follower.next::<Follow>().await.expect("it goes on");
        take(&mut state, &mut Vec::new(), &reply);
        checkpoint = reply.checkpoint.or(checkpoint);
    }
    let checkpoint = checkpoint.expect("others are sent what is vouched for");
    assert_eq!((checkpoint.index, checkpoint.hash), (state.index(), state.hash().to_string()));
    for _beat in 0..2 {
        let began = std::time::Instant::now();
        let (reply, continues) = follower.next::<Follow>().await.expect("a sign of life");
        assert_eq!((reply.entries.len(), reply.head, continues), (0, last, true));
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    }
    node.stop().await;
}
