//! A voter whose node was taken over says on its conversation with another voter what others have said, what nobody has said, and
//! all of it in another order.

use acp_base::Code;
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    Empty, Scope,
    cluster::Checkpoint,
    hub::{self as api, CreateKeyRequest, QuorumStatus},
    principal::PrincipalKind,
};
use tokio::io::AsyncWriteExt as _;

use crate::{
    node::{Acting, LIMIT, valid},
    peer::Peer,
    world::World,
};

/// What a frame of a checkpoint and one of a report begin with, after their length.
const CHECKPOINT: u8 = 5;
const REPORT: u8 = 4;

/// Length of the length, and of kind and number after it.
const LENGTH_BYTES: usize = 4;
const HEAD_BYTES: usize = 9;

async fn write(world: &World, name: &str) {
    let request = CreateKeyRequest { name: valid(name), scope: Scope::Read, lifetime_ms: None };
    world.hub(0).call::<api::CreateKey>(request).await.expect("it is ordered");
}

async fn quorum(world: &World, at: usize) -> QuorumStatus {
    world.hub(at).call::<api::GetQuorum>(Empty {}).await.expect("a status")
}

/// A conversation with the second hub, as that of one of the others.
async fn conversation(world: &World, from: usize) -> acp_io_varlink::Upgraded {
    let cluster = world.hub(1).call::<api::GetStatus>(Empty {}).await.expect("a status").cluster.expect("one").uid;
    let request = api::RaftRequest { cluster, epoch: quorum(world, 1).await.epoch };
    let acting = Acting::at(&world.socket(1), world.peer(from).principal(PrincipalKind::Node)).await;
    acting.expect("it listens").upgrade::<api::Raft>(&request).await.expect("a voter may")
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEAD_BYTES + body.len()).expect("small");
    [&length.to_be_bytes()[..], &[kind], &[0; 8], body].concat()
}

/// The frames of a conversation, after the call that began it.
fn frames(heard: &[u8]) -> Vec<&[u8]> {
    let begun = heard.iter().position(|byte| *byte == 0).expect("a call");
    let (mut rest, mut frames) = (&heard[begun + 1..], Vec::new());
    while let Some(length) = rest.first_chunk::<LENGTH_BYTES>() {
        let length = LENGTH_BYTES + usize::try_from(u32::from_be_bytes(*length)).expect("small");
        let Some((frame, later)) = rest.split_at_checked(length) else { break };
        frames.push(frame);
        rest = later;
    }
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_replayed_or_reordered_between_hubs_changes_nothing() {
    let world = World::of_three_voters().await;
    world.tap();
    for number in 0..10 {
        write(&world, &format!("k{number}")).await;
    }
    let heard = wait_for_async("what the leader says", LIMIT, async || {
        seen(world.tapped(0, 1), |heard| heard.contains(&0) && frames(heard).len() > 10)
    });
    let heard = heard.await.expect("it says much");
    let genuine = frames(&heard);
    let before = quorum(&world, 1).await;
    assert_eq!(before.leader, Some(valid("n1")));

    // From the node that has said it, again; and from another one, as if that led.
    for from in [0, 2] {
        let mut again = conversation(&world, from).await;
        for frame in genuine.iter().rev().flat_map(|frame| [frame, frame]) {
            again.write_all(frame).await.expect("taken");
        }
        again.flush().await.expect("sent");
        write(&world, &format!("after{from}")).await;
    }
    let at = quorum(&world, 1).await;
    let forged = Checkpoint {
        cluster: world.hub(1).call::<api::GetStatus>(Empty {}).await.expect("a status").cluster.expect("one").uid,
        epoch: at.epoch.clone(),
        index: at.applied + 1_000,
        hash: "ab".repeat(32),
        signer: world.peer(0).uid,
        signature: "cd".repeat(64),
    };
    let mut liar = conversation(&world, 2).await;
    for checkpoint in [forged.clone(), Checkpoint { epoch: "9-00000001".to_owned(), ..forged }] {
        let body = serde_json::to_vec(&checkpoint).expect("JSON");
        liar.write_all(&frame(CHECKPOINT, &body)).await.expect("taken");
    }
    for noise in [frame(CHECKPOINT, b"{}"), frame(REPORT, &[0xc1; 40]), frame(9, b"of no kind")] {
        liar.write_all(&noise).await.expect("taken");
    }
    liar.flush().await.expect("sent");
    write(&world, "last").await;

    let same = wait_for_async("the same state everywhere", LIMIT, async || {
        let mut stands = Vec::new();
        for at in 0..3 {
            let backup = world.hub(at).call::<api::Backup>(api::BackupRequest {}).await.expect("a backup");
            stands.push((backup.index, backup.hash));
        }
        seen(stands, |stands| stands.windows(2).all(|pair| pair[0] == pair[1]))
    });
    same.await.expect("they agree");
    let after = quorum(&world, 1).await;
    assert_eq!((after.leader, after.term, after.epoch), (before.leader, before.term, before.epoch));
    assert_eq!(world.hub(0).call::<api::ListKeys>(Empty {}).await.expect("keys").keys.len(), 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_controller_does_not_speak_with_voters() {
    let world = World::of_three_voters().await;
    let cluster = world.hub(1).call::<api::GetStatus>(Empty {}).await.expect("a status").cluster.expect("one").uid;
    let request = api::RaftRequest { cluster, epoch: quorum(&world, 1).await.epoch };
    let stranger = Acting::at(&world.socket(1), Peer::new("n9", 9).principal(PrincipalKind::Node)).await;
    let refused = stranger.expect("it listens").upgrade::<api::Raft>(&request).await;
    assert_eq!(refused.map(drop).expect_err("it is no member").code, Code::PermissionDenied);
    let person = crate::peer::key("root@n3", Scope::Admin);
    let refused = Acting::at(&world.socket(1), person).await.expect("it listens").upgrade::<api::Raft>(&request).await;
    assert_eq!(refused.map(drop).expect_err("a person is no node").code, Code::PermissionDenied);
}
