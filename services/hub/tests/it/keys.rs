//! The group keys: every member is given the same ones by any hub, whoever leads, and whoever is no member none.

use acp_base::{Code, from_hex};
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    Scope,
    hub::{self as api, NodeRequest, SyncKeys, SyncKeysReply, SyncKeysRequest},
    principal::PrincipalKind,
};

use crate::{
    node::{Acting, LIMIT, valid},
    peer::key,
    world::{NODES, World},
};

async fn keys(world: &World, number: usize, installed: Option<u32>) -> Option<SyncKeysReply> {
    world.hub(number).call::<SyncKeys>(SyncKeysRequest { installed }).await.ok()
}

fn numbers(reply: &SyncKeysReply) -> Vec<u32> {
    reply.keys.iter().map(|key| key.number).collect()
}

/// Waits until these hubs hand out the same keys, of which this holds; every node says that it has them.
async fn agreed(world: &World, hubs: &[usize], what: impl Fn(&SyncKeysReply) -> bool) -> SyncKeysReply {
    let mut installed = None;
    let agreed = wait_for_async("the same keys from all", LIMIT, async || {
        let mut replies = Vec::new();
        for number in hubs {
            replies.push(keys(world, *number, installed).await);
        }
        let first = replies[0].clone();
        installed = first.as_ref().and_then(|reply| numbers(reply).first().copied()).or(installed);
        let is_same = replies.iter().all(|reply| *reply == first);
        seen(first, |first| is_same && first.as_ref().is_some_and(&what))
    });
    agreed.await.expect("they agree").expect("keys")
}

#[tokio::test]
async fn keys_outlive_their_leader_and_go_with_who_is_removed() {
    let mut world = World::of_three_voters().await;
    let first = agreed(&world, &[0, 1, 2], |_any| true).await;
    assert_eq!((numbers(&first), first.keys[0].secret.len()), (vec![first.seal], 64));

    let leader = world.leader().await;
    world.kill(leader);
    let others: Vec<usize> = (0..NODES).filter(|number| *number != leader).collect();
    let second = world.leader().await;
    assert_ne!(second, leader);
    assert_eq!(agreed(&world, &others, |_any| true).await, first, "whoever leads next goes on with the same");
    world.start_hub(leader);
    assert_eq!(agreed(&world, &[0, 1, 2], |_any| true).await, first, "and so does who has forgotten them");

    // One that neither leads nor answers is removed: two of three decide that.
    let gone = others.iter().copied().find(|number| *number != second).expect("three");
    let principal = world.peer(gone).principal(PrincipalKind::Node);
    let at = world.leader().await;
    let request = NodeRequest { name: valid(&world.peer(gone).name) };
    world.hub(at).call::<api::RemoveNode>(request).await.expect("removed");
    let left: Vec<usize> = (0..NODES).filter(|number| *number != gone).collect();
    let next = agreed(&world, &left, |reply| reply.seal != first.seal && reply.keys.len() == 1).await;
    assert!(next.seal > first.seal && next.keys[0].secret != first.keys[0].secret, "{next:?}");

    let mut removed = Acting::at(&world.socket(at), principal).await.expect("it listens");
    let refused = removed.call::<SyncKeys>(SyncKeysRequest::default()).await.expect_err("it is no member");
    assert_eq!(refused.code, Code::PermissionDenied);
    let mut looker = Acting::at(&world.socket(at), key("looker", Scope::Admin)).await.expect("it listens");
    let refused = looker.call::<SyncKeys>(SyncKeysRequest::default()).await.expect_err("a key is no node");
    assert_eq!(refused.code, Code::PermissionDenied);

    for secret in [&first.keys[0].secret, &next.keys[0].secret] {
        let bytes = from_hex(secret).expect("hexadecimal digits");
        for file in world.files() {
            let kept = std::fs::read(&file).expect("read");
            let holds = |part: &[u8]| kept.windows(part.len()).any(|window| window == part);
            assert!(!holds(secret.as_bytes()) && !holds(&bytes), "{} holds a secret", file.display());
        }
    }
}
