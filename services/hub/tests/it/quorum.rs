//! Three hubs with one log.

use std::time::{Duration, Instant};

use acp_base::{Change, Code, to_base64};
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    Empty, Scope,
    hub::{self as api, BackupRequest, CreateKeyRequest, RecoverRequest, TransferRequest},
    principal::PrincipalKind,
};

use crate::{
    node::{Acting, LIMIT, valid},
    world::World,
};

/// How long a hub may take to end. Its framework waits twice as long.
const END_LIMIT: Duration = Duration::from_secs(5);

async fn write(world: &World, at: usize, name: &str) -> Result<(), acp_base::Failure> {
    let request = CreateKeyRequest { name: valid(name), scope: Scope::Read, lifetime_ms: None };
    world.hub(at).call::<api::CreateKey>(request).await.map(drop)
}

/// Writes although the leader has just gone: what it was asked last may or may not be done, and is asked again.
async fn write_until_known(world: &World, at: usize, name: &str) {
    let written = wait_for_async("the next leader to take it", LIMIT, async || match write(world, at, name).await {
        Err(failure) if failure.changed == Change::Unknown => Err(failure),
        Err(failure) if failure.code == Code::AlreadyExists => Ok(()),
        settled => {
            settled.expect("it waits for the next leader");
            Ok(())
        }
    });
    written.await.expect("there is a leader");
}

async fn keys(world: &World, at: usize) -> Vec<String> {
    let keys = world.hub(at).call::<api::ListKeys>(Empty {}).await.expect("there is a cluster").keys;
    keys.into_iter().map(|key| key.name).collect()
}

/// Index and hash of a hub's state.
async fn stand(world: &World, at: usize) -> (u64, String) {
    let backup = world.hub(at).call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    (backup.index, backup.hash)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_grow_and_what_is_acknowledged_survives_the_leader() {
    let mut world = World::of_three_voters().await;
    let leader = world.leader().await;
    assert_eq!(leader, 0, "who has made the cluster");
    for (at, name) in ["k0", "k1", "k2"].into_iter().enumerate() {
        write(&world, at, name).await.expect("followers pass it on");
    }
    for at in 0..3 {
        // Whoever wrote sees it; the others do, too, in a moment.
        let all = async || seen(keys(&world, at).await, |keys| *keys == ["k0", "k1", "k2"]);
        wait_for_async("the keys", LIMIT, all).await.expect("they are seen everywhere");
    }
    let directory = std::fs::read_dir(world.socket(1).with_file_name("hub")).expect("its state");
    let files: Vec<_> = directory.map(|file| file.expect("readable").file_name()).collect();
    assert!(files.iter().any(|file| file == "authority.key"), "a voter can sign: {files:?}");

    world.kill(leader);
    let killed = Instant::now();
    write_until_known(&world, 1, "k3").await;
    assert!(killed.elapsed() < LIMIT / 2, "{:?}", killed.elapsed());
    assert_eq!(keys(&world, 1).await, ["k0", "k1", "k2", "k3"]);

    world.start_hub(leader);
    let caught_up = wait_for_async("the old leader to catch up", LIMIT, async || {
        seen(keys(&world, leader).await, |keys| keys.len() == 4)
    });
    caught_up.await.expect("it follows");
    let (first, second) = (stand(&world, leader).await, stand(&world, 1).await);
    assert_eq!(first, second, "the same entries make the same state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_and_an_ending_leader_hands_it_over_itself() {
    let world = World::of_three_voters().await;
    let to = |name: &str| TransferRequest { to: Some(valid(name)) };
    let handed = world.hub(2).call::<api::Transfer>(to("n2")).await.expect("asked anywhere");
    assert_eq!(handed.leader, Some(valid("n2")), "whoever was asked has heard of it");
    assert_eq!(world.leader().await, 1);
    let failure = world.hub(1).call::<api::Transfer>(to("n9")).await.expect_err("nobody of that name");
    assert_eq!(failure.code, Code::NotFound);
    write(&world, 0, "k").await.expect("the new leader orders");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_just_started_can_be_asked_to_lead() {
    let mut world = World::of_three_voters().await;
    for _time in 0..3 {
        world.kill(1);
        world.start_hub(1);
        let back = wait_for_async("it to follow again", LIMIT, async || {
            let status = world.hub(1).call::<api::GetQuorum>(Empty {}).await.map_err(|failure| failure.to_string())?;
            let follows = status.degraded.is_empty() && status.leader == Some(valid("n1"));
            if follows { Ok(()) } else { Err(format!("{status:?}")) }
        });
        back.await.expect("it follows");
        for to in ["n2", "n1"] {
            let asked = world.hub(0).call::<api::Transfer>(TransferRequest { to: Some(valid(to)) }).await;
            assert_eq!(asked.expect("it is elected at once").leader, Some(valid(to)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_gives_way_to_another_one() {
    let mut world = World::of_three_voters().await;
    let told = Instant::now();
    world.tell_to_end(0);
    world.ended(0).await;
    assert!(told.elapsed() < END_LIMIT, "{:?}", told.elapsed());
    let led = wait_for_async("another leader", LIMIT, async || {
        let status = world.hub(1).call::<api::GetQuorum>(Empty {}).await.expect("a status");
        let is_other = status.leader.as_ref().is_some_and(|leader| leader.as_str() != "n1");
        if is_other { Ok(()) } else { Err(format!("{status:?}")) }
    });
    led.await.expect("another one leads");
    assert!(told.elapsed() < END_LIMIT, "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_ends_soon_although_nobody_is_there_to_take_over() {
    let mut world = World::of_three_voters().await;
    world.kill(1);
    world.kill(2);
    // Somebody asks for what nobody confirms.
    let hub = world.hub(0).deadline(LIMIT);
    let request = CreateKeyRequest { name: valid("lost"), scope: Scope::Read, lifetime_ms: None };
    let writing = async move { hub.call::<api::CreateKey>(request).await.map(drop) };
    let told = Instant::now();
    world.tell_to_end(0);
    // Who writes waits for a hub as long as it may, whether or not one is there.
    let ending = async {
        world.ended(0).await;
        told.elapsed()
    };
    let (written, took) = tokio::join!(writing, ending);
    assert!(took < END_LIMIT, "{took:?}");
    written.expect_err("nobody has confirmed it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_hubs_that_are_told_at_once_end_soon() {
    let mut world = World::of_three_voters().await;
    let told = Instant::now();
    (0..3).for_each(|number| world.tell_to_end(number));
    for number in 0..3 {
        world.ended(number).await;
    }
    assert!(told.elapsed() < END_LIMIT, "{:?}", told.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_says_so() {
    let world = World::of_three_voters().await;
    world.part(0);
    let mut lost = world.hub(0).deadline(Duration::from_secs(15));
    let request = CreateKeyRequest { name: valid("lost"), scope: Scope::Read, lifetime_ms: None };
    let failure = lost.call::<api::CreateKey>(request).await.expect_err("nobody confirms it");
    assert_ne!(failure.changed, Change::Partial, "{failure}");
    write(&world, 1, "kept").await.expect("the majority goes on");
    let degraded = wait_for_async("the lost one to say so", LIMIT, async || {
        let status = world.hub(0).call::<api::GetQuorum>(Empty {}).await.expect("a status");
        seen(status.degraded, |degraded| !degraded.is_empty())
    });
    degraded.await.expect("it knows");
    lost = world.hub(0).deadline(Duration::from_secs(2));
    let read = lost.call::<api::ReadIndex>(Empty {}).await.expect_err("it may not know the newest");
    assert!(matches!(read.code, Code::Unavailable | Code::DeadlineExceeded), "{read}");
    world.heal();
    let healed = wait_for_async("one truth", LIMIT, async || seen(keys(&world, 0).await, |keys| *keys == ["kept"]));
    healed.await.expect("it follows, and its own entry is void");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_survivor_begins_a_new_epoch_and_the_others_come_back_into_it() {
    let mut world = World::of_three_voters().await;
    write(&world, 0, "before").await.expect("it is ordered");
    let plan = |plan| RecoverRequest { plan };
    let failure = world.hub(1).call::<api::Recover>(plan(true)).await.expect_err("nothing is lost");
    assert_eq!(failure.code, Code::FailedPrecondition);
    let (lost, kept) = ([0, 2], 1);
    for number in lost {
        world.kill(number);
    }
    let said = wait_for_async("the loss to be seen", LIMIT, async || {
        let planned = world.hub(kept).call::<api::Recover>(plan(true)).await;
        seen(planned.map(|status| status.degraded), Result::is_ok)
    });
    let said = said.await.expect("a plan").expect("a plan");
    assert!(said.contains("n1, n3 had acknowledged"), "{said}");
    let before = world.hub(kept).call::<api::GetQuorum>(Empty {}).await.expect("a status");
    let status = world.hub(kept).call::<api::Recover>(plan(false)).await.expect("recovered");
    assert!(before.epoch.starts_with("1-") && status.epoch.starts_with("2-"), "{} {}", before.epoch, status.epoch);
    write(&world, kept, "after").await.expect("it orders alone");
    let directory = world.hub(kept).call::<api::ListNodes>(api::NodeFilter::default()).await.expect("a list").nodes;
    let controllers: Vec<_> = directory.iter().map(|node| node.node.controller).collect();
    assert_eq!(controllers, [false, true, false]);

    for number in lost {
        world.start_hub(number);
    }
    world.voters(3).await;
    let all = wait_for_async("one truth", LIMIT, async || {
        let told = [keys(&world, 0).await, keys(&world, 1).await, keys(&world, 2).await];
        seen(told, |told| told.iter().all(|keys| *keys == ["after", "before"]))
    });
    all.await.expect("they are of the new epoch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn voters_of_another_cluster_or_epoch_are_refused_and_each_page_is_vouched_for() {
    let world = World::of_three_voters().await;
    let at = world.hub(1).call::<api::GetQuorum>(Empty {}).await.expect("a status");
    let (index, _hash) = stand(&world, 1).await;
    let cluster = world.hub(1).call::<api::GetStatus>(Empty {}).await.expect("a status").cluster.expect("one").uid;
    let acting = async || {
        let principal = world.peer(2).principal(PrincipalKind::Node);
        Acting::at(&world.socket(1), principal).await.expect("it listens")
    };
    for (other_cluster, epoch) in
        [(true, at.epoch.clone()), (false, "1-00000000".to_owned()), (false, "0-x".to_owned())]
    {
        let cluster = if other_cluster { world.peer(0).uid } else { cluster };
        let refused = acting().await.upgrade::<api::Raft>(&api::RaftRequest { cluster, epoch }).await;
        assert_eq!(refused.map(drop).expect_err("it is of something else").code, Code::PermissionDenied);
    }
    write(&world, 0, "k").await.expect("it is ordered");
    let principal = world.peer(2).principal(PrincipalKind::Node);
    let follower = Acting::at(&world.socket(1), principal).await.expect("it listens");
    let request = acp_wire_api::cluster::FollowRequest {
        cluster,
        epoch: "1-x".to_owned(),
        index: 0,
        hash: "00".repeat(32),
        any_cluster: false,
    };
    let mut follower = follower.stream::<api::Follow>(&request).await;
    let mut entries = 0;
    while entries < index + 1 {
        let (reply, _continues) = follower.next::<api::Follow>().await.expect("it goes on");
        entries += u64::try_from(reply.entries.len()).expect("few");
        let Some(checkpoint) = reply.checkpoint else { continue };
        assert!(checkpoint.index <= reply.head, "{checkpoint:?} beyond {}", reply.head);
        let keys = world.hub(1).call::<api::ListNodes>(api::NodeFilter::default()).await.expect("a list").nodes;
        let signer = keys.iter().find(|node| node.node.uid == checkpoint.signer).expect("a member");
        let message = acp_core_cdb::checkpoint_message(&checkpoint);
        let is_signed = acp_io_pki::is_signed_by(&signer.node.checkpoint_key, &message, &checkpoint.signature);
        assert!(is_signed, "{}", to_base64(&message));
    }
}
