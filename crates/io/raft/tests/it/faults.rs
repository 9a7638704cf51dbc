//! A disk that fails, and comes back.

use acp_dev_wait::{seen, wait_for_async};
use acp_io_raft::{Options, ProposeError, Role};

use crate::{
    disk::{Dice, Fault},
    group::{Group, LIMIT, lock},
    vfs::Vfs,
};

fn snapshots(options: Options) -> Options {
    Options { snapshot_entries: 20, entries_kept: 5, ..options }
}

/// Starts a node again, on this disk.
async fn restart(group: &mut Group, node: u64, vfs: &'static Vfs) {
    group.stop(node).await;
    group.disks.insert(node, vfs);
    group.start(node).await;
}

/// Enough operations for every attempt to write to fail until the disk is mended.
pub(crate) fn fill(vfs: &Vfs, fault: Fault) {
    let mut disk = vfs.disk();
    for after in 0..5_000 {
        disk.plan(after, fault);
    }
}

#[tokio::test]
async fn a_lone_voter_survives_a_full_disk_without_a_restart() {
    let vfs = Vfs::register("raft-full");
    let mut group = Group::of(40, 1, snapshots).await;
    restart(&mut group, 1, vfs).await;
    for (round, fault) in (0..).zip([Fault::Full, Fault::Io, Fault::Torn]) {
        group.write(&format!("before {round}")).await;
        fill(vfs, fault);
        let refused = group.node(1).propose(b"no room".to_vec()).await.expect_err("the disk fails");
        assert!(matches!(refused, ProposeError::Unknown(_) | ProposeError::Failed(_)), "{refused:?}");
        let failed = async || seen(group.status(1).role, |role| matches!(role, Role::Failed(_)));
        let role = wait_for_async("the failure to be said", LIMIT, failed).await.expect("said");
        eprintln!("{role:?}");
        let refused = group.node(1).propose(b"still none".to_vec()).await.expect_err("the disk fails");
        assert!(matches!(refused, ProposeError::Failed(_)), "{refused:?}");
        vfs.disk().mend();
        group.leader(&[1]).await;
        group.write(&format!("after {round}")).await;
    }
    group.check(&[1]).await;
    let before = lock(&group.applied[&1]).clone();
    group.stop(1).await;
    group.start(1).await;
    group.check(&[1]).await;
    assert_eq!(lock(&group.applied[&1])[..before.len()], before[..], "a fresh machine comes to the same");
    group.end().await;
}

#[tokio::test]
async fn a_group_goes_on_while_disks_fail_at_random() {
    let vfs = Vfs::register("raft-random");
    for seed in 50..52 {
        let mut group = Group::of(seed, 3, snapshots).await;
        restart(&mut group, 2, vfs).await;
        let writers: Vec<_> = (1..=2).map(|name| group.writer(name)).collect();
        let mut dice = Dice(seed);
        for _fault in 0..25 {
            let fault = [Fault::Io, Fault::Full, Fault::Torn][dice.index(3)];
            vfs.disk().plan(dice.roll(60), fault);
            let count = lock(&group.acknowledged).len();
            let on = async || seen(lock(&group.acknowledged).len(), |now| *now > count + 10);
            wait_for_async("the group to go on", LIMIT, on).await.expect("it does");
        }
        vfs.disk().mend();
        writers.iter().for_each(tokio::task::AbortHandle::abort);
        group.check(&[1, 2, 3]).await;
        group.end().await;
    }
}
