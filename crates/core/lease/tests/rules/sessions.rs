//! The leader's table.

use acp_base::{BootInstant, Code, Failure, Uid};
use acp_core_lease::{Fact, LEASES_MAX, RenewError, Renewal, Sessions, Timing};
use acp_wire_api::hub::{HeldLease, LeaseAnswer, RenewSessionRequest};
use acp_wire_model::entry::LeaseAct;

use crate::{DB, N1, N2, at};

const BEGAN: BootInstant = at(100_000);

fn table() -> Sessions {
    Sessions::new_leader(BEGAN, Timing::DEFAULT)
}

fn held(term: u64) -> RenewSessionRequest {
    RenewSessionRequest { held: vec![HeldLease { system: DB, term }], ..nothing() }
}

fn wanted() -> RenewSessionRequest {
    RenewSessionRequest { wanted: vec![DB], ..nothing() }
}

fn released(term: u64) -> RenewSessionRequest {
    RenewSessionRequest { released: vec![HeldLease { system: DB, term }], ..nothing() }
}

fn nothing() -> RenewSessionRequest {
    RenewSessionRequest { incarnation: 1, held: Vec::new(), wanted: Vec::new(), released: Vec::new() }
}

fn of(holder: Uid, term: u64) -> Option<Fact> {
    Some(Fact { holder: Some(holder), term })
}

fn free(term: u64) -> Option<Fact> {
    Some(Fact { holder: None, term })
}

fn renew(table: &mut Sessions, request: &RenewSessionRequest, now: BootInstant, fact: Option<Fact>) -> Renewal {
    table.renew(N1, request, now, now, |_system| fact).expect("in order")
}

fn answer(renewal: &Renewal, fact: Option<Fact>) -> LeaseAnswer {
    let reply = renewal.reply(|_system| fact, |_node| "n2".to_owned());
    assert_eq!((reply.ttl_ms, reply.pause_ms, reply.kill_ms), (8_000, 4_000, 5_500));
    reply.leases.into_iter().next().expect("an answer")
}

#[test]
fn what_the_node_has_is_renewed_without_an_entry() {
    let mut table = table();
    let renewal = renew(&mut table, &held(3), at(101_000), of(N1, 3));
    assert!(renewal.acts().is_empty());
    assert_eq!(answer(&renewal, of(N1, 3)).term, Some(3));
}

#[test]
fn what_nobody_has_is_granted_and_answered_once_the_log_says_so() {
    let mut table = table();
    for request in [wanted(), held(2)] {
        let renewal = renew(&mut table, &request, at(101_000), free(2));
        assert_eq!(renewal.acts(), [(DB, LeaseAct::Grant { node: N1 })]);
        assert_eq!(answer(&renewal, of(N1, 3)).term, Some(3));
        let refused = answer(&renewal, free(2));
        assert!(refused.term.is_none() && refused.reason.contains("ask again"), "{refused:?}");
    }
}

#[test]
fn what_another_has_is_refused_with_its_name() {
    let mut table = table();
    for request in [wanted(), held(2)] {
        let renewal = renew(&mut table, &request, at(101_000), of(N2, 4));
        assert!(renewal.acts().is_empty());
        assert_eq!(answer(&renewal, of(N2, 4)).reason, "node n2 has its lease");
    }
    // Two ask at once, and the log decides for the other.
    let renewal = renew(&mut table, &wanted(), at(101_000), free(2));
    assert_eq!(answer(&renewal, of(N2, 3)).term, None);
}

#[test]
fn who_asks_for_what_it_had_gets_a_new_term_and_no_old_one() {
    let mut table = table();
    let renewal = renew(&mut table, &wanted(), at(101_000), of(N1, 3));
    assert_eq!(renewal.acts(), [(DB, LeaseAct::Grant { node: N1 })], "a release of term 3 may be on its way");
    assert_eq!(answer(&renewal, of(N1, 3)).term, None);
    assert_eq!(answer(&renewal, of(N1, 4)).term, Some(4));
}

#[test]
fn a_release_is_an_entry_and_said_back_while_it_does_not_stand() {
    let mut table = table();
    let renewal = renew(&mut table, &released(3), at(101_000), of(N1, 3));
    assert_eq!(renewal.acts(), [(DB, LeaseAct::Release { node: N1, term: 3 })]);
    assert_eq!(answer(&renewal, of(N1, 3)).term, Some(3), "it was not ordered");
    assert!(renewal.reply(|_system| free(3), |_node| String::new()).leases.is_empty());
    let late = renew(&mut table, &released(2), at(101_000), of(N1, 3));
    assert!(late.acts().is_empty(), "of an earlier term");
}

#[test]
fn nothing_is_revoked_before_a_full_time_to_live_of_the_leader() {
    let mut table = table();
    assert!(table.expired(at(107_999), [(DB, of(N1, 3).expect("a fact"))]).is_empty());
    let revoked = table.expired(at(108_000), [(DB, of(N1, 3).expect("a fact"))]);
    assert_eq!(revoked, [(DB, LeaseAct::Revoke { node: N1, term: 3 })]);
}

#[test]
fn a_lease_ends_a_time_to_live_after_it_was_named_last() {
    let mut table = table();
    let fact = of(N1, 3).expect("a fact");
    renew(&mut table, &held(3), at(120_000), of(N1, 3));
    // The session goes on, the lease is not named any more.
    renew(&mut table, &nothing(), at(126_000), of(N1, 3));
    assert!(table.expired(at(127_999), [(DB, fact)]).is_empty());
    assert_eq!(table.is_alive(N1, at(128_000)), Some(true));
    assert_eq!(table.expired(at(128_000), [(DB, fact)]).len(), 1);
}

#[test]
fn what_is_being_revoked_is_not_renewed() {
    let mut table = table();
    let fact = of(N1, 3).expect("a fact");
    assert_eq!(table.expired(at(110_000), [(DB, fact)]).len(), 1);
    for request in [held(3), wanted()] {
        let renewal = renew(&mut table, &request, at(110_100), of(N1, 3));
        assert!(renewal.acts().is_empty());
        assert_eq!(answer(&renewal, of(N1, 3)).term, None);
    }
    assert_eq!(table.expired(at(110_200), [(DB, fact)]).len(), 1, "again until it stands");
    assert!(table.expired(at(110_300), [(DB, free(3).expect("a fact"))]).is_empty());
    let renewal = renew(&mut table, &held(3), at(110_400), free(3));
    assert_eq!(answer(&renewal, of(N1, 4)).term, Some(4), "once it stands it is granted anew");
}

#[test]
fn who_may_have_been_deposed_does_not_answer() {
    let mut table = table();
    let renew =
        |table: &mut Sessions, confirmed| table.renew(N1, &held(3), at(110_000), confirmed, |_system| of(N1, 3));
    assert!(renew(&mut table, at(108_750)).is_ok());
    let refused = renew(&mut table, at(108_749)).expect_err("too old");
    assert_eq!(refused, RenewError::Unconfirmed { age: std::time::Duration::from_millis(1_251) });
    assert_eq!(Failure::from(refused).code, Code::Unavailable);
}

#[test]
fn an_earlier_life_is_refused_after_a_later_one() {
    let mut table = table();
    let later = RenewSessionRequest { incarnation: 2, ..nothing() };
    assert!(table.renew(N1, &later, BEGAN, BEGAN, |_system| None).is_ok());
    let refused = table.renew(N1, &nothing(), BEGAN, BEGAN, |_system| None).expect_err("an earlier life");
    assert_eq!(refused, RenewError::Overtaken { given: 1, known: 2 });
}

#[test]
fn after_a_recovery_nothing_is_granted_to_who_did_not_have_it() {
    let mut table = table().withholding();
    let renewal = renew(&mut table, &wanted(), at(107_999), free(2));
    assert!(renewal.acts().is_empty());
    assert!(answer(&renewal, free(2)).reason.contains("began anew"));
    assert_eq!(renew(&mut table, &held(5), at(107_999), free(2)).acts().len(), 1, "who has it was the last");
    assert_eq!(renew(&mut table, &wanted(), at(108_000), free(2)).acts().len(), 1);
}

#[test]
fn nobody_is_declared_down_before_a_full_time_to_live() {
    let mut table = table();
    assert_eq!(table.is_alive(N2, at(107_999)), None);
    assert_eq!(table.is_alive(N2, at(108_000)), Some(false));
    renew(&mut table, &nothing(), at(120_000), None);
    assert_eq!(table.is_alive(N1, at(127_999)), Some(true));
    assert_eq!(table.is_alive(N1, at(128_000)), Some(false));
}

#[test]
fn a_request_that_names_too_much_is_refused() {
    let many = RenewSessionRequest { wanted: vec![DB; LEASES_MAX + 1], ..nothing() };
    let refused = table().renew(N1, &many, BEGAN, BEGAN, |_system| None).expect_err("too many");
    assert_eq!(Failure::from(refused).code, Code::InvalidArgument);
}
