//! Founding, growing, replacing, handing over.

use std::{collections::BTreeSet, time::Duration};

use acp_dev_wait::{seen, wait_for_async};
use acp_io_raft::{ChangeError, Former, FoundError, OpenError, Options, ProposeError, Raft, Role, TransferError};
use rusqlite::Connection;
use tokio::time::Instant;

use crate::group::{Group, LEASE, LIMIT, Recorder, lock, uid};

fn plain(options: Options) -> Options {
    options
}

#[tokio::test]
async fn a_node_alone_is_a_group_and_stays_one() {
    let mut group = Group::of(20, 1, plain).await;
    assert!(matches!(group.node(1).found(None).await, Err(FoundError::Founded(_))));
    assert_eq!(group.node(1).propose(b"one".to_vec()).await.expect("written"), 1);
    assert_eq!(group.node(1).propose(b"two".to_vec()).await.expect("written"), 2);
    let before = group.status(1);
    group.stop(1).await;
    group.start(1).await;
    group.leader(&[1]).await;
    group.node(1).wait_applied(before.applied, LIMIT).await.expect("replayed");
    assert_eq!(*lock(&group.applied[&1]), [b"one".to_vec(), b"two".to_vec()]);
    assert_eq!(group.status(1).group, before.group);
    group.end().await;
}

#[tokio::test]
async fn a_group_can_begin_with_an_image_after_the_old_one_is_forgotten() {
    let group = Group::of(21, 3, plain).await;
    group.write("old").await;
    let old = group.status(1).group;
    for node in [2, 3] {
        group.stop(node).await;
    }
    group.node(1).forget().await.expect("forgotten");
    assert_eq!(group.status(1).role, Role::Unfounded);
    let refused = group.node(1).propose(b"nobody's".to_vec()).await;
    assert!(matches!(refused, Err(ProposeError::NotLeader { leader: None })), "{refused:?}");
    let image = [&3_u64.to_le_bytes()[..], b"img"].concat();
    assert!(matches!(group.node(1).found(Some(b"?".repeat(20))).await, Err(FoundError::Image(_))));
    group.node(1).found(Some(image)).await.expect("founded");
    assert_eq!(group.node(1).propose(b"new".to_vec()).await.expect("written"), 2);
    assert_eq!(*lock(&group.applied[&1]), [b"img".to_vec(), b"new".to_vec()]);
    assert_ne!(group.status(1).group, old);
    group.end().await;
}

#[tokio::test]
async fn voters_grow_to_five_and_one_is_replaced() {
    let mut group = Group::of(22, 1, plain).await;
    for number in 0..20 {
        group.write(&number.to_string()).await;
    }
    let writer = group.writer(1);
    for node in 2..=6 {
        group.start(node).await;
    }
    let leader = group.node(1);
    let missing = leader.set_voters(BTreeSet::from([uid(1), uid(2)]), Former::Gone).await;
    assert!(matches!(missing, Err(ChangeError::NotLearner(node)) if node == uid(2)), "{missing:?}");
    for (learners, voters) in [([2, 3], 1..=3), ([4, 5], 1..=5)] {
        for learner in learners {
            leader.add_learner(uid(learner)).await.expect("a learner");
        }
        leader.set_voters(voters.map(uid).collect(), Former::Gone).await.expect("voters");
    }
    group.stop(5).await;
    leader.add_learner(uid(6)).await.expect("a learner");
    leader.set_voters([1, 2, 3, 4, 6].map(uid).into(), Former::Gone).await.expect("replaced");
    assert_eq!(group.status(1).voters, BTreeSet::from([1, 2, 3, 4, 6].map(uid)));
    writer.abort();
    group.check(&[1, 2, 3, 4, 6]).await;
    let follower = group.node(2).set_voters(BTreeSet::from([uid(2)]), Former::Gone).await;
    assert!(matches!(follower, Err(ChangeError::NotLeader { leader: Some(_) })), "{follower:?}");
    group.end().await;
}

#[tokio::test]
async fn a_voter_that_lost_its_log_is_none_until_it_was_removed_and_added_again() {
    let mut group = Group::of(23, 3, plain).await;
    group.write("before").await;
    group.stop(3).await;
    std::fs::remove_dir_all(group.place(3)).expect("wiped");
    group.start(3).await;
    for number in 0..20 {
        group.write(&number.to_string()).await;
    }
    assert_eq!(group.status(3).role, Role::Unfounded, "it may have promised what it has forgotten");
    let leader = group.node(1);
    leader.set_voters([1, 2].map(uid).into(), Former::Gone).await.expect("removed");
    leader.add_learner(uid(3)).await.expect("a learner");
    leader.set_voters([1, 2, 3].map(uid).into(), Former::Gone).await.expect("a voter again");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

#[tokio::test]
async fn leadership_goes_to_whom_it_is_given() {
    let group = Group::of(24, 3, plain).await;
    let writer = group.writer(1);
    let mut leader = group.leader(&[1, 2, 3]).await;
    assert!(matches!(group.node(leader).transfer(uid(9)).await, Err(TransferError::NotVoter(_))));
    for to in [2, 3, 1, 3] {
        let began = Instant::now();
        if to == leader {
            continue;
        }
        group.node(leader).transfer(uid(to)).await.expect("handed over");
        eprintln!("handed over in {:?}", began.elapsed());
        assert!(began.elapsed() < LEASE * 6, "{:?}", began.elapsed());
        leader = group.leader(&[1, 2, 3]).await;
        assert_eq!(leader, to);
    }
    group.isolate(1, &[2, 3], true);
    let error = group.node(leader).transfer(uid(1)).await.expect_err("it cannot be reached");
    assert!(matches!(error, TransferError::NotElected { .. } | TransferError::Behind(_)), "{error:?}");
    writer.abort();
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

#[tokio::test]
async fn a_log_that_is_not_what_was_written_is_refused_with_a_sentence() {
    let group = Group::of(25, 1, plain).await;
    for number in 0..5 {
        group.write(&format!("entry {number}")).await;
    }
    group.stop(1).await;
    let good = group.place(1);
    let options = |directory| Options { directory, ..group.options(1) };
    for (change, expected) in [
        ("UPDATE log SET bytes = zeroblob(9) WHERE idx = 3", "entry 3 is not what was written"),
        ("DELETE FROM log WHERE idx = 4", "an entry before 5 is missing"),
        ("DELETE FROM log WHERE idx > 2", "the log ends before an entry that was committed"),
        ("UPDATE log SET (bytes, sum) = (SELECT bytes, sum FROM log WHERE idx = 2) WHERE idx = 3", "entry 3 is not"),
        ("UPDATE fact SET bytes = x'00' WHERE name = 'vote'", "the record vote is not what was written"),
        ("DELETE FROM fact WHERE name = 'node'; PRAGMA user_version = 9", "has layout 9"),
        ("PRAGMA application_id = 7", "is an SQLite database, but not this log"),
    ] {
        let copy = tempfile::tempdir().expect("a directory");
        std::fs::copy(good.join("raft.sqlite"), copy.path().join("raft.sqlite")).expect("copied");
        let database = Connection::open(copy.path().join("raft.sqlite")).expect("opened");
        database.execute_batch(change).expect("changed");
        database.close().expect("closed");
        let opened =
            Raft::open(options(copy.path().to_owned()), Recorder::default(), group.door(1), group.tasks()).await;
        let error = opened.expect_err("refused").to_string();
        assert!(error.contains(expected), "{change}: {error}");
    }
    let other = Options { node: uid(2), ..options(good) };
    let opened = Raft::open(other, Recorder::default(), group.door(2), group.tasks()).await;
    assert!(matches!(opened, Err(OpenError::OtherNode { .. })), "{opened:?}");
}

#[tokio::test]
async fn a_learner_hears_how_the_majority_is() {
    let mut group = Group::of(26, 3, plain).await;
    group.start(4).await;
    group.node(1).add_learner(uid(4)).await.expect("a learner");
    let heard = async || {
        let status = group.status(4);
        seen(status.role == Role::Learner && status.quorum_heard.is_some(), |heard| *heard)
    };
    wait_for_async("a learner", LIMIT, heard).await.expect("it hears");
    assert!(group.status(1).learners.contains(&uid(4)) && !group.status(1).voters.contains(&uid(4)));
    group.node(1).remove_learners(BTreeSet::from([uid(4)])).await.expect("removed");
    assert!(!group.status(1).learners.contains(&uid(4)));
    let late = group.node(1).wait_applied(u64::MAX, Duration::from_millis(20)).await;
    assert!(late.is_err(), "that entry never comes");
    group.end().await;
}

/// The founder has lost its log and is given it again, from when it was the only voter on: it must not take itself for that.
#[tokio::test]
async fn a_founder_that_lost_its_log_does_not_lead_by_what_it_is_given() {
    let mut group = Group::of(65, 3, plain).await;
    for number in 0..40 {
        group.write(&format!("{number}")).await;
    }
    group.node(1).transfer(uid(2)).await.expect("it gives way");
    group.stop(1).await;
    std::fs::remove_dir_all(group.place(1)).expect("removed");
    group.node(2).set_voters([2, 3].map(uid).into(), Former::Gone).await.expect("without it");
    let term = group.status(2).term;
    // What it is given comes slowly: it is at its beginning for a while.
    group.weather().delay_ms = 60;
    group.start(1).await;
    group.node(2).add_learner(uid(1)).await.expect("a learner");
    group.write("while it learns").await;
    group.node(2).set_voters([1, 2, 3].map(uid).into(), Former::Gone).await.expect("a voter anew");
    group.calm();
    group.write("with its vote").await;
    let now = group.status(2);
    assert_eq!((now.term, now.is_leader()), (term, true), "nobody else has stood");
    group.node(2).transfer(uid(1)).await.expect("it can lead again");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}
