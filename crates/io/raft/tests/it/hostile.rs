//! What a voter does with frames that are not what their sender says, come again, or come in another order.

use acp_io_raft::{Options, Status};

use crate::group::{Group, Sent, lock, uid};

fn plain(options: Options) -> Options {
    options
}

/// What a frame could have changed.
fn standing(group: &Group, node: u64) -> (u64, Option<acp_base::Uid>, u64, u64) {
    let Status { term, leader, last_index, applied, .. } = group.status(node);
    (term, leader, last_index, applied)
}

/// Frames of a leader that orders something and then gives way.
async fn tapped(group: &Group, name: &str) -> Vec<Sent> {
    group.tap();
    for number in 0..20 {
        group.write(&format!("{name}-{number}")).await;
    }
    group.node(1).transfer(uid(2)).await.expect("it gives way");
    group.tapped()
}

#[tokio::test]
async fn nobody_speaks_for_another_and_no_bit_of_a_frame_helps() {
    let group = Group::of(60, 3, plain).await;
    let heard = tapped(&group, "before").await;
    let leader = group.leader(&[1, 2, 3]).await;
    assert_eq!(leader, 2, "it was asked to lead");
    let follower = group.node(1);
    let before = standing(&group, 1);
    let mut refused = 0;
    for sent in heard.iter().filter(|sent| sent.from == 1) {
        // Node 3 says what node 1 said when that led, to node 1 itself, which follows now.
        let answer = follower.serve(uid(3), sent.frame.clone()).await;
        refused += usize::from(String::from_utf8_lossy(&answer).contains("node "));
        assert_eq!(standing(&group, 1), before, "after a frame of somebody else");
    }
    assert!(refused > 20, "only {refused} of {} frames were refused", heard.len());
    let entries = heard.iter().filter(|sent| sent.from == 1).max_by_key(|sent| sent.frame.len()).expect("entries");
    for byte in 0..entries.frame.len() {
        let mut frame = entries.frame.clone();
        frame[byte] ^= 1;
        drop(follower.serve(uid(3), frame).await);
    }
    group.check(&[1, 2, 3]).await;
    let now = group.status(2);
    assert_eq!((now.term, now.is_leader()), (before.0, true), "the same leader, the same term");
    group.end().await;
}

/// Whoever leads no more has told another one to stand before, and somebody has kept that.
#[tokio::test]
async fn an_order_to_stand_counts_from_the_leader_alone() {
    let group = Group::of(64, 3, plain).await;
    let heard = tapped(&group, "before").await;
    let order = heard.iter().rfind(|sent| String::from_utf8_lossy(&sent.frame).ends_with("Stand"));
    let order = order.expect("it was told to stand");
    assert_eq!((order.from, order.to), (1, 2));
    let term = group.status(2).term;
    for from in [1, 3] {
        for to in [1, 2, 3].into_iter().filter(|to| *to != from) {
            let answer = group.node(to).serve(uid(from), order.frame.clone()).await;
            assert!(String::from_utf8_lossy(&answer).contains("cannot give way"), "{answer:?}");
            group.write("on").await;
        }
    }
    group.check(&[1, 2, 3]).await;
    let now = group.status(2);
    assert_eq!((now.term, now.is_leader()), (term, true), "the same leader, the same term");
    group.end().await;
}

#[tokio::test]
async fn frames_of_another_group_are_refused() {
    let (group, other) = (Group::of(61, 3, plain).await, Group::of(62, 3, plain).await);
    let heard = tapped(&other, "theirs").await;
    let leader = group.leader(&[1, 2, 3]).await;
    let before = standing(&group, leader);
    for sent in &heard {
        let answer = group.node(leader).serve(uid(sent.from), sent.frame.clone()).await;
        assert!(String::from_utf8_lossy(&answer).contains("of group"), "{answer:?}");
    }
    assert_eq!(standing(&group, leader), before);
    group.check(&[1, 2, 3]).await;
    assert!(!lock(&group.applied[&leader]).contains(&b"theirs-0".to_vec()));
    group.end().await;
    other.end().await;
}

/// What went over the wire comes again, last first and twice, from whom it came: while the group goes on, and after another
/// leads.
#[tokio::test]
async fn frames_that_come_again_in_another_order_change_nothing() {
    let group = Group::of(63, 3, plain).await;
    let heard = tapped(&group, "first").await;
    let leader = group.leader(&[1, 2, 3]).await;
    let term = group.status(leader).term;
    let writer = group.writer(9);
    for sent in heard.iter().rev().flat_map(|sent| [sent, sent]) {
        drop(group.node(sent.to).serve(uid(sent.from), sent.frame.clone()).await);
    }
    writer.abort();
    let now = group.leader(&[1, 2, 3]).await;
    assert_eq!((now, group.status(now).term), (leader, term), "the same leader, the same term");
    group.check(&[1, 2, 3]).await;
    group.end().await;
}
