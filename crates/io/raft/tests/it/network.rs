//! What cuts, loss and crashes do to a group.

use std::time::Duration;

use acp_base::Uid;
use acp_dev_wait::{seen, wait_for_async};
use acp_io_raft::{Options, ProposeError, ReadError};
use tokio::time::{Instant, sleep_until};

use crate::{
    disk::Dice,
    group::{Group, LEASE, LIMIT, lock, uid},
};

fn plain(options: Options) -> Options {
    options
}

/// Snapshots all the time.
fn many_snapshots(options: Options) -> Options {
    Options { snapshot_entries: 40, entries_kept: 10, ..options }
}

#[tokio::test]
async fn a_leader_that_is_cut_off_is_replaced_and_acknowledges_nothing() {
    let group = Group::of(1, 3, plain).await;
    group.write("before").await;
    group.isolate(1, &[2, 3], true);
    let began = Instant::now();
    let replaced = async {
        let leader = group.leader(&[2, 3]).await;
        eprintln!("a new leader after {:?}", began.elapsed());
        leader
    };
    let cut_off = group.node(1);
    let (old, leader) = tokio::join!(cut_off.propose(b"cut off".to_vec()), replaced);
    assert!(matches!(old, Err(ProposeError::Unknown(_))), "{old:?}");
    let old = group.node(1).propose(b"silent".to_vec()).await;
    assert!(matches!(old, Err(ProposeError::NotLeader { leader: None })), "{old:?}");
    assert!(matches!(group.node(1).read_index().await, Err(ReadError::NoQuorum)));
    group.node(leader).propose(b"the majority's".to_vec()).await.expect("written");
    assert!(group.status(1).quorum_heard.is_none_or(|heard| heard.elapsed() > LEASE), "it knows that it is degraded");
    let index = group.node(leader).read_index().await.expect("it leads");
    group.calm();
    group.node(1).wait_applied(index, LIMIT).await.expect("it catches up");
    assert!(!lock(&group.applied[&1]).contains(&b"cut off".to_vec()), "it was never committed");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

#[tokio::test]
async fn a_leader_that_hears_nothing_gives_way() {
    let group = Group::of(2, 3, plain).await;
    group.cut(2, 1, true);
    group.cut(3, 1, true);
    let leader = group.leader(&[2, 3]).await;
    group.node(leader).propose(b"on".to_vec()).await.expect("written");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

#[tokio::test]
async fn a_voter_that_comes_back_unseats_nobody() {
    let group = Group::of(3, 3, plain).await;
    let term = group.status(1).term;
    for _time in 0..3 {
        group.isolate(3, &[1, 2], true);
        sleep_until(Instant::now() + LEASE * 4).await;
        group.write("while it was away").await;
        group.isolate(3, &[1, 2], false);
        let back = async || seen(group.status(3).applied >= group.status(1).applied, |back| *back);
        wait_for_async("it to catch up", LIMIT, back).await.expect("back");
    }
    // It reaches the other follower, who hears the leader and would not vote for it.
    group.isolate(3, &[1], true);
    sleep_until(Instant::now() + LEASE * 5).await;
    group.isolate(3, &[1], false);
    group.write("after a cut to the leader alone").await;
    // Deaf one way: it hears nobody, but is heard.
    group.cut(1, 3, true);
    group.cut(2, 3, true);
    sleep_until(Instant::now() + LEASE * 5).await;
    assert_eq!((group.status(1).term, group.status(1).is_leader()), (term, true), "the same leader, the same term");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

/// A minute of a link that comes and goes each second; these groups' times are 2.5 times shorter than the defaults, and so
/// are the second and the minute.
#[tokio::test]
async fn leadership_does_not_thrash_over_a_link_that_comes_and_goes() {
    let group = Group::of(4, 3, plain).await;
    let writer = group.writer(1);
    let before = group.status(1).term;
    let began = Instant::now();
    for flap in 1..=60 {
        // The link between leader and one follower, then between the leader and both, which nothing survives unharmed.
        let others: &[u64] = if flap <= 40 { &[2] } else { &[2, 3] };
        group.isolate(1, others, flap % 2 == 1);
        sleep_until(began + Duration::from_millis(400) * flap).await;
        if flap == 40 {
            assert_eq!(group.status(1).term, before, "one flapping follower changes no leader");
        }
    }
    writer.abort();
    let leader = group.leader(&[1, 2, 3]).await;
    let changes = group.status(leader).term - before;
    eprintln!("{changes} terms in a minute of flapping");
    assert!(changes <= 2, "{changes} terms");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

/// Loss, delay, reordering, cuts and crashes at random.
async fn storm(seed: u64, nodes: u64, steps: u32) {
    let mut group = Group::of(seed, nodes, many_snapshots).await;
    let mut dice = Dice(seed);
    let writers: Vec<_> = (1..=3).map(|name| group.writer(name)).collect();
    let all: Vec<u64> = (1..=nodes).collect();
    for _step in 0..steps {
        let node = 1 + dice.roll(nodes);
        match dice.roll(6) {
            0 => group.isolate(node, &all.iter().copied().filter(|other| *other != node).collect::<Vec<_>>(), true),
            1 => group.cut(node, 1 + dice.roll(nodes), true),
            2 => {
                group.stop(node).await;
                group.start(node).await;
            }
            3 => {
                let mut weather = group.weather();
                (weather.loss, weather.delay_ms) = (dice.roll(20), dice.roll(60));
            }
            _ => group.calm(),
        }
        sleep_until(Instant::now() + Duration::from_millis(dice.roll(1_200))).await;
    }
    writers.iter().for_each(tokio::task::AbortHandle::abort);
    group.check(&all).await;
    group.end().await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_in_a_storm() {
    for seed in 100..103 {
        storm(seed, 3, 12).await;
    }
}

#[tokio::test]
async fn five_voters_survive_a_storm() {
    storm(200, 5, 16).await;
}

#[tokio::test]
async fn a_follower_far_behind_is_sent_a_snapshot() {
    let mut group = Group::of(5, 3, many_snapshots).await;
    group.stop(3).await;
    for number in 0..200 {
        group.write(&format!("{number} {}", "x".repeat(3_000))).await;
    }
    let snapshot = async || seen(group.status(1).snapshot, |snapshot| *snapshot > 150);
    wait_for_async("a snapshot", LIMIT, snapshot).await.expect("taken");
    group.weather().loss = 5;
    group.start(3).await;
    group.check(&[1, 2, 3]).await;
    assert!(group.status(3).snapshot > 150, "it was given one: {:#?}", group.status(3));
    group.end().await;
}

#[tokio::test]
async fn everything_off_and_on_again() {
    let mut group = Group::of(6, 3, plain).await;
    for number in 0..50 {
        group.write(&number.to_string()).await;
    }
    for node in 1..=3 {
        group.stop(node).await;
    }
    for node in 1..=3 {
        group.start(node).await;
    }
    group.check(&[1, 2, 3]).await;
    assert_eq!(lock(&group.applied[&2]).len(), 51);
    group.end().await;
}

#[tokio::test]
async fn a_voter_hears_its_own_group_alone() {
    let group = Group::of(7, 1, plain).await;
    let mut other = Group::of(8, 1, plain).await;
    let foreign = other.node(1);
    assert!(foreign.is_founded());
    // Node 2 of the first group is in truth the other group's founder.
    other.stop(1).await;
    other.start(2).await;
    other.node(2).found(None).await.expect("founded");
    group.put(2, other.node(2));
    let added = tokio::time::timeout(LEASE * 5, group.node(1).add_learner(uid(2))).await;
    assert!(added.is_err(), "it does not follow: {added:?}");
    let own: Option<Uid> = group.status(1).group;
    assert_ne!(other.status(2).group, own);
    assert!(other.status(2).is_leader(), "and leads its own group on");
    group.end().await;
}
