//! A node's claims.

use acp_core_lease::{Claims, Deadlines, News, TimingError};
use acp_wire_api::hub::{LeaseAnswer, RenewSessionReply};

use crate::{DB, at};

fn reply(term: Option<u64>) -> RenewSessionReply {
    let answer = LeaseAnswer { system: DB, term, reason: "it may not".to_owned() };
    RenewSessionReply { ttl_ms: 8_000, pause_ms: 4_000, kill_ms: 5_500, leases: vec![answer] }
}

fn deadlines(term: u64, sent: u64) -> Deadlines {
    Deadlines { term, pause_at: at(sent + 4_000), kill_at: at(sent + 5_500) }
}

/// Claims that hold the system since a request that was sent at 0.
fn holding(term: u64) -> Claims {
    let mut claims = Claims::default();
    assert!(claims.want(DB));
    assert_eq!(claims.request(1, at(0)).wanted, [DB]);
    claims.answered(&reply(Some(term)), at(10)).expect("in order");
    claims
}

#[test]
fn a_lease_counts_from_when_its_request_was_sent() {
    let mut claims = holding(3);
    assert_eq!(claims.deadlines(DB, at(3_999)), Some(deadlines(3, 0)));
    assert_eq!(claims.deadlines(DB, at(4_000)), None, "nothing is started at the pause");
    let request = claims.request(1, at(2_000));
    assert_eq!((request.held.len(), request.held[0].term, request.wanted.len()), (1, 3, 0));
    let news = claims.answered(&reply(Some(3)), at(3_500)).expect("in order");
    assert_eq!(news, [News::Extended { system: DB, deadlines: deadlines(3, 2_000) }]);
}

#[test]
fn a_late_reply_gives_nothing_and_one_to_an_earlier_request_neither() {
    let mut claims = Claims::default();
    assert!(claims.want(DB));
    claims.request(1, at(0));
    assert_eq!(claims.answered(&reply(Some(3)), at(4_000)), Ok(Vec::new()));
    assert_eq!(claims.answered(&reply(Some(3)), at(100)), Ok(Vec::new()), "nothing was asked");
    assert_eq!(claims.deadlines(DB, at(100)), None);
}

#[test]
fn a_refusal_pauses_at_once_and_leaves_the_kill_where_it_was() {
    let mut claims = holding(3);
    claims.request(1, at(1_000));
    let news = claims.answered(&reply(None), at(1_100)).expect("in order");
    let left = Deadlines { pause_at: at(1_100), ..deadlines(3, 0) };
    assert_eq!(news, [News::Refused { system: DB, reason: "it may not".to_owned(), deadlines: Some(left) }]);
    assert_eq!(claims.deadlines(DB, at(1_100)), None);
    // It is asked for on, and may be had again.
    assert_eq!(claims.request(1, at(2_000)).held.len(), 1);
    claims.answered(&reply(Some(4)), at(2_100)).expect("in order");
    assert_eq!(claims.deadlines(DB, at(2_100)), Some(deadlines(4, 2_000)));
}

#[test]
fn what_nobody_extends_is_lost_at_the_kill_and_wanted_again() {
    let mut claims = holding(3);
    assert_eq!(claims.due(at(5_499)), []);
    assert_eq!(claims.next_deadline(at(5_499)), Some(std::time::Duration::from_millis(1)));
    assert_eq!(claims.due(at(5_500)), [News::Lost { system: DB, term: 3 }]);
    assert_eq!((claims.due(at(5_500)), claims.next_deadline(at(5_500))), (Vec::new(), None));
    assert_eq!(claims.request(1, at(6_000)).wanted, [DB]);
    assert_eq!(claims.answered(&reply(Some(3)), at(6_100)), Ok(Vec::new()), "the term is over");
    claims.request(1, at(8_000));
    assert_eq!(claims.answered(&reply(Some(4)), at(8_100)).expect("in order").len(), 1);
}

#[test]
fn a_release_is_said_until_it_was_heard() {
    let mut claims = holding(3);
    claims.release(DB);
    assert_eq!(claims.deadlines(DB, at(100)), None);
    assert_eq!(claims.request(1, at(2_000)).released.len(), 1);
    claims.answered(&reply(Some(3)), at(2_100)).expect("the leader could not order it");
    assert_eq!(claims.request(1, at(4_000)).released.len(), 1);
    claims.answered(&RenewSessionReply { leases: Vec::new(), ..reply(None) }, at(4_100)).expect("in order");
    assert!(claims.is_empty());
}

#[test]
fn what_was_released_is_had_again_under_another_term_only() {
    let mut claims = holding(3);
    claims.release(DB);
    assert!(claims.want(DB));
    assert_eq!(claims.request(1, at(2_000)).wanted, [DB]);
    assert_eq!(claims.answered(&reply(Some(3)), at(2_100)), Ok(Vec::new()), "a release of it may be on its way");
    claims.request(1, at(4_000));
    assert_eq!(claims.answered(&reply(Some(4)), at(4_100)).expect("in order").len(), 1);
}

#[test]
fn a_grant_that_comes_after_the_release_is_given_back() {
    let mut claims = Claims::default();
    assert!(claims.want(DB));
    claims.request(1, at(0));
    claims.release(DB);
    assert!(claims.is_empty());
    assert_eq!(claims.answered(&reply(Some(7)), at(100)), Ok(Vec::new()));
    assert_eq!(claims.request(1, at(2_000)).released[0].term, 7);
}

#[test]
fn numbers_that_cannot_be_are_as_no_answer() {
    let mut claims = holding(3);
    claims.request(1, at(2_000));
    let wild = RenewSessionReply { kill_ms: 60_000, ..reply(Some(3)) };
    assert!(matches!(claims.answered(&wild, at(2_100)), Err(TimingError::Proportion { .. })));
    assert_eq!(claims.due(at(5_500)).len(), 1);
}
