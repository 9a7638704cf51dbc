//! Verdicts on nodes: what the leader makes of sessions, reports of rings and its own question.

use std::time::Instant;

use acp_base::{Code, from_base64};
use acp_core_cdb::decode;
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::hub::{
    Backup, BackupRequest, Follow, GetQuorum, Judgement, KeepAlive, ListNodes, NodeFilter, ReportRing,
    ReportRingRequest, RingState, RingStateKind, Standing, Transfer, TransferRequest,
};
use acp_wire_api::{Empty, cluster::FollowRequest, principal::PrincipalKind};
use acp_wire_model::entry::{Action, NodeStanding};

use crate::{
    node::{Acting, LIMIT},
    world::{NODES, World},
};

fn report(world: &World, by: usize, down: Option<usize>) -> ReportRingRequest {
    let held = |other: usize| {
        let state = if down == Some(other) { RingStateKind::Down } else { RingStateKind::Alive };
        RingState { node: world.peer(other).uid, state }
    };
    let states = (0..NODES).filter(|other| *other != by).map(held).collect();
    ReportRingRequest { ring: 1, incarnation: 1, states }
}

/// Each of these nodes says at its own hub what it holds of the others. What is lost with a conversation is said again.
async fn all_say(world: &World, who: &[usize], down: Option<usize>) {
    for by in who {
        if let Err(failure) = world.hub(*by).call::<ReportRing>(report(world, *by, down)).await {
            assert_eq!(failure.code, Code::Unavailable, "{failure}");
        }
    }
}

async fn judged(world: &World, at: usize, of: usize) -> Option<Judgement> {
    let reply = world.hub(at).call::<ListNodes>(NodeFilter::default()).await.ok()?;
    let uid = world.peer(of).uid;
    reply.nodes.into_iter().find(|node| node.node.uid == uid)?.judged
}

/// Waits for a verdict, while the others say the same again.
async fn until(world: &World, who: &[usize], victim: usize, down: bool, wanted: Standing) -> Judgement {
    let verdict = wait_for_async("the verdict", LIMIT, async || {
        all_say(world, who, down.then_some(victim)).await;
        let told = judged(world, who[0], victim).await;
        seen(told, |told| told.as_ref().is_some_and(|told| told.standing == wanted))
    });
    verdict.await.expect("it is come to").expect("judged")
}

#[tokio::test]
async fn a_node_that_nobody_reaches_is_down_and_online_again_when_it_is_back() {
    let world = World::of_three_voters().await;
    let leader = world.leader().await;
    let (victim, other) = ((leader + 1) % NODES, (leader + 2) % NODES);
    for node in 0..NODES {
        until(&world, &[0, 1, 2], node, false, Standing::Online).await;
    }
    // Its ring does not reach it, but the hub does: by any controller's word, and it is told through any hub.
    let told = until(&world, &[other, leader], victim, true, Standing::Isolated).await;
    assert!(told.evidence.ends_with("; confirmation answered"), "{told:?}");
    until(&world, &[other, leader], victim, false, Standing::Online).await;

    let began = Instant::now();
    world.part(victim);
    let told = until(&world, &[other, leader], victim, true, Standing::Down).await;
    let took = began.elapsed();
    let mut names = [leader, other].map(|number| world.peer(number).name.clone());
    names.sort();
    let by = format!("; down say {} for ", names.join(", "));
    assert!(told.evidence.starts_with("no session for ") && told.evidence.contains(&by), "{told:?}");
    assert!(told.evidence.ends_with("; confirmation failed"), "{told:?}");
    eprintln!("down after {took:?}: the doubt about the session, and what the hub takes to ask");

    world.heal();
    until(&world, &[other, leader], victim, false, Standing::Online).await;

    // Each change is in the log, in its order, once, with the words of the verdict; another leader adds nothing.
    let entries = logged(&world, leader, victim).await;
    let told: Vec<NodeStanding> = entries.iter().map(|(standing, _evidence)| *standing).collect();
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]) && told[0] == NodeStanding::Isolated, "{entries:?}");
    let down = entries.iter().find(|(standing, _)| *standing == NodeStanding::Down).expect("it was down");
    assert!(down.1.contains(&by) && down.1.ends_with("; confirmation failed"), "{entries:?}");
    let to = TransferRequest { to: Some(crate::node::valid(&world.peer(other).name)) };
    world.hub(leader).call::<Transfer>(to).await.expect("handed over");
    until(&world, &[0, 1, 2], victim, false, Standing::Online).await;
    assert_eq!(logged(&world, other, victim).await, entries);
}

/// What the log of a hub says of a node, once it says that it is online again.
async fn logged(world: &World, at: usize, of: usize) -> Vec<(NodeStanding, String)> {
    let victim = world.peer(of).uid;
    let entries = wait_for_async("the entries", LIMIT, async || {
        let backup = world.hub(at).call::<Backup>(BackupRequest {}).await.map_err(|failure| failure.to_string())?;
        let epoch = world.hub(at).call::<GetQuorum>(Empty {}).await.map_err(|failure| failure.to_string())?.epoch;
        let (index, hash) = (0, "00".repeat(32));
        let from = FollowRequest { cluster: backup.cluster, epoch, index, hash, any_cluster: false };
        let mut replies = world.hub(at).stream::<Follow>(from).await.map_err(|failure| failure.to_string())?;
        let (mut read, mut applied) = (Vec::new(), 0);
        while applied < backup.index {
            let reply = replies.next().await.expect("it goes on").map_err(|failure| failure.to_string())?;
            for bytes in reply.entries.iter().map(|entry| from_base64(entry).expect("base64")) {
                let entry = decode(&bytes, applied + 1).expect("an entry");
                applied = entry.index;
                match entry.action {
                    Action::Verdict { node, standing, evidence, unsaid: 0 } if node == victim => {
                        read.push((standing, evidence));
                    }
                    _ => {}
                }
            }
        }
        seen(read, |read| read.last().is_some_and(|(standing, _)| *standing == NodeStanding::Online))
    });
    entries.await.expect("they are there")
}

#[tokio::test]
async fn who_is_no_member_neither_reports_nor_keeps_alive() {
    let world = World::start().await;
    let stranger = world.peer(1).principal(PrincipalKind::Node);
    let init =
        acp_wire_api::hub::InitClusterRequest { cluster: crate::node::valid("prod"), node: world.peer(0).presents() };
    world.hub(0).call::<acp_wire_api::hub::InitCluster>(init).await.expect("a cluster");
    let mut acting = Acting::at(&world.socket(0), stranger).await.expect("it listens");
    let refused = acting.call::<ReportRing>(report(&world, 1, Some(0))).await.expect_err("it is no member");
    assert_eq!(refused.code, Code::PermissionDenied);
    assert_eq!(acting.call::<KeepAlive>(Empty {}).await.expect_err("either").code, Code::PermissionDenied);
    let state = RingState { node: world.peer(0).uid, state: RingStateKind::Down };
    let too_much = ReportRingRequest { ring: 1, incarnation: 1, states: vec![state; 64] };
    let refused = world.hub(0).call::<ReportRing>(too_much).await.expect_err("a ring has 64 members");
    assert_eq!(refused.code, Code::InvalidArgument);
}
