//! What happens while entries are on their way to a disk, and what does not.

use std::{collections::BTreeMap, ffi::OsString, fs, time::Duration};

use acp_dev_wait::{seen, wait_for_async};
use acp_io_raft::{Options, ProposeError, Role};
use tokio::{
    sync::oneshot::{self, Receiver, error::TryRecvError},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    disk::Fault,
    faults::fill,
    group::{Group, HEARTBEAT, LIMIT, lock, uid},
    vfs::Vfs,
};

fn plain(options: Options) -> Options {
    options
}

/// Nobody gives a leader up while a disk is held.
fn patient(options: Options) -> Options {
    Options { lease: Duration::from_secs(10), propose_limit: LIMIT, ..options }
}

/// Long enough for whatever is wrong to show: some rhythms of the leader's word.
async fn a_while() {
    sleep_until(Instant::now() + HEARTBEAT * 5).await;
}

/// Does something beside the test, which is told what came of it.
fn beside<T: Send + 'static>(group: &Group, work: impl Future<Output = T> + Send + 'static) -> Receiver<T> {
    let (done, answer) = oneshot::channel();
    group.tasks().spawn("beside", async move { drop(done.send(work.await)) });
    answer
}

fn is_pending<T>(answer: &mut Receiver<T>) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

type Proposing = Receiver<Result<usize, ProposeError>>;

/// Proposes at node 1, which leads, and answers the index that the entry has; what becomes of it comes later.
async fn begin(group: &Group, command: &'static [u8]) -> (Proposing, u64) {
    let (node, before) = (group.node(1), group.status(1).last_index);
    let proposing = beside(group, async move { node.propose(command.to_vec()).await });
    let taken = async || seen(group.status(1).last_index, |last| *last > before);
    (proposing, wait_for_async("the entry to be taken", LIMIT, taken).await.expect("taken"))
}

async fn holds(group: &Group, node: u64, index: u64) {
    let look = async || seen(group.status(node).last_index, |last| *last >= index);
    wait_for_async(&format!("node {node} to hold entry {index}"), LIMIT, look).await.expect("it was sent");
}

#[tokio::test]
async fn what_a_leaders_own_disk_does_not_hold_is_sent_and_nothing_more() {
    let vfs = Vfs::register("raft-slow-leader");
    let group = Group::on(BTreeMap::from([(1, vfs)]), 60, 3, patient).await;
    group.write("before").await;
    vfs.hold(true);
    let (mut proposing, index) = begin(&group, b"on its way").await;
    holds(&group, 2, index).await;
    holds(&group, 3, index).await;
    let read = timeout(HEARTBEAT * 5, group.node(1).read_index()).await;
    a_while().await;
    assert!(is_pending(&mut proposing), "it was acknowledged before it was on the leader's disk");
    assert!(read.as_ref().is_err() || matches!(read, Ok(Ok(read)) if read < index), "a read stands on it: {read:?}");
    for node in 1..=3 {
        let status = group.status(node);
        assert!(status.applied < index, "node {node} has applied it: {status:#?}");
        assert!(status.committed < index, "node {node} takes it to be committed: {status:#?}");
    }
    vfs.hold(false);
    proposing.await.expect("it ends").expect("acknowledged");
    assert!(group.node(1).read_index().await.expect("it leads") >= index);
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

#[tokio::test]
async fn a_follower_confirms_what_its_disk_holds() {
    let (two, three) = (Vfs::register("raft-slow-two"), Vfs::register("raft-slow-three"));
    let group = Group::on(BTreeMap::from([(2, two), (3, three)]), 61, 3, patient).await;
    group.write("before").await;
    two.hold(true);
    three.hold(true);
    let (mut proposing, index) = begin(&group, b"on its way").await;
    a_while().await;
    assert!(is_pending(&mut proposing), "it was acknowledged before it was on the disks of a majority");
    let status = group.status(1);
    assert!(status.peers.values().all(|peer| peer.matched < index), "{status:#?}");
    assert!(status.committed < index, "{status:#?}");
    three.hold(false);
    proposing.await.expect("it ends").expect("two of three hold it");
    two.hold(false);
    group.check(&[1, 2, 3]).await;
    group.end().await;
}

/// Without followers nobody else's disk says that the entry is anywhere.
#[tokio::test]
async fn a_lone_voter_acknowledges_what_its_disk_holds_and_its_learner_hears_no_sooner() {
    let vfs = Vfs::register("raft-slow-lone");
    let mut group = Group::on(BTreeMap::from([(1, vfs)]), 62, 1, patient).await;
    group.start(2).await;
    group.node(1).add_learner(uid(2)).await.expect("a learner");
    vfs.hold(true);
    let (mut proposing, index) = begin(&group, b"on its way").await;
    holds(&group, 2, index).await;
    a_while().await;
    assert!(is_pending(&mut proposing), "it was acknowledged");
    assert!(lock(&group.applied[&1]).is_empty(), "it was applied");
    assert!(lock(&group.applied[&2]).is_empty(), "the learner has applied it");
    vfs.hold(false);
    proposing.await.expect("it ends").expect("acknowledged");
    group.end().await;
}

/// The next change of the members relies on the one before: if a loss of power could take that back, two majorities without a
/// common voter could decide.
#[tokio::test]
async fn a_change_of_members_is_on_the_leaders_disk_before_it_is_sent() {
    let vfs = Vfs::register("raft-slow-change");
    let mut group = Group::on(BTreeMap::from([(1, vfs)]), 63, 3, patient).await;
    group.start(4).await;
    group.write("before").await;
    // The leader's: a follower may have the write yet to come.
    let before = group.status(1).last_index;
    vfs.hold(true);
    let node = group.node(1);
    let adding = beside(&group, async move { node.add_learner(uid(4)).await });
    a_while().await;
    let sent: Vec<u64> = [2, 3].map(|node| group.status(node).last_index).into();
    assert_eq!(sent, [before, before], "it was sent");
    vfs.hold(false);
    adding.await.expect("it ends").expect("a learner");
    group.check(&[1, 2, 3, 4]).await;
    group.end().await;
}

/// What is on a node's disk right now, as a loss of power would leave it.
fn image(group: &Group, node: u64) -> BTreeMap<OsString, Vec<u8>> {
    let files = fs::read_dir(group.place(node)).expect("a directory").map(|file| file.expect("a file"));
    files.map(|file| (file.file_name(), fs::read(file.path()).expect("read"))).collect()
}

/// An entry that the leader sent and lost would come to stand beside another one of the same term in the same place.
#[tokio::test]
async fn a_leader_that_lost_what_it_had_sent_does_not_lead_on() {
    let vfs = Vfs::register("raft-lost");
    let mut group = Group::on(BTreeMap::from([(1, vfs)]), 64, 3, plain).await;
    group.write("before").await;
    let term = group.status(1).term;
    let saved = image(&group, 1);
    group.isolate(1, &[3], true);
    vfs.hold(true);
    let (proposing, index) = begin(&group, b"sent and lost").await;
    holds(&group, 2, index).await;
    group.isolate(1, &[2, 3], true);
    group.isolate(2, &[3], true);
    // The power is lost while the disk writes.
    vfs.disk().stop();
    vfs.hold(false);
    let refused = proposing.await.expect("it ends").expect_err("its disk never held it");
    assert!(matches!(refused, ProposeError::Unknown(_)), "{refused:?}");
    group.stop(1).await;
    vfs.disk().start(false);
    fs::remove_dir_all(group.place(1)).expect("removed");
    fs::create_dir(group.place(1)).expect("made");
    for (name, bytes) in saved {
        fs::write(group.place(1).join(name), bytes).expect("written");
    }
    // With the one that never heard of the entry it is a majority.
    group.isolate(1, &[3], false);
    group.start(1).await;
    group.leader(&[1, 3]).await;
    assert!(group.status(3).term > term, "it leads on in term {term}: {:#?}", group.status(1));
    group.write("in its place").await;
    group.calm();
    group.check(&[1, 2, 3]).await;
    assert!(!lock(&group.applied[&2]).contains(&b"sent and lost".to_vec()));
    group.end().await;
}

#[tokio::test]
async fn a_leader_whose_disk_hangs_gives_way() {
    let vfs = Vfs::register("raft-hangs");
    let group = Group::on(BTreeMap::from([(1, vfs)]), 65, 3, plain).await;
    group.write("before").await;
    vfs.hold(true);
    let (proposing, _index) = begin(&group, b"it may be kept or lost").await;
    let leader = group.leader(&[2, 3]).await;
    group.node(leader).propose(b"the others go on".to_vec()).await.expect("written");
    vfs.hold(false);
    group.check(&[1, 2, 3]).await;
    drop(proposing.await.expect("it ends"));
    group.end().await;
}

/// Nobody confirms the entry, so nothing is to be applied and openraft asks the log for nothing.
#[tokio::test]
async fn a_leader_whose_disk_fails_says_so_though_nobody_answers() {
    let vfs = Vfs::register("raft-fails");
    let group = Group::on(BTreeMap::from([(1, vfs)]), 66, 3, plain).await;
    group.write("before").await;
    group.isolate(1, &[2, 3], true);
    fill(vfs, Fault::Io);
    let refused = group.node(1).propose(b"nowhere".to_vec()).await.expect_err("the disk fails");
    assert!(matches!(refused, ProposeError::Unknown(_)), "{refused:?}");
    let failed = async || seen(group.status(1).role, |role| matches!(role, Role::Failed(_)));
    wait_for_async("the failure to be said", LIMIT, failed).await.expect("said");
    vfs.disk().mend();
    group.check(&[1, 2, 3]).await;
    group.end().await;
}
