//! The whole table of verdicts: every combination, against the rules written the other way round.

use std::time::Duration;

use acp_base::Uid;
use acp_core_swim::{
    Facts, Verdict, judge,
    verdict::{Confirmation, Session, Standing, Swim},
};

fn facts() -> Vec<Facts> {
    let accuser = || vec![Uid::from_u128(7)];
    let mut all = Vec::new();
    for session in [Session::Up, Session::Mute, Session::Down] {
        for swim in [
            Swim::Alone,
            Swim::Unheard,
            Swim::Alive,
            Swim::Suspect(accuser()),
            Swim::Accused(accuser()),
            Swim::Down(accuser()),
        ] {
            for confirmation in
                [Confirmation::None, Confirmation::Pending, Confirmation::Answered, Confirmation::Failed]
            {
                for quorum in [true, false] {
                    for last in [None, Some(Standing::Online), Some(Standing::Down)] {
                        let (session_for, swim_for) = (Duration::from_millis(1_700), Duration::from_millis(300));
                        let age = Duration::from_secs(9);
                        let swim = swim.clone();
                        all.push(Facts { session, session_for, swim, swim_for, confirmation, quorum, last, age });
                    }
                }
            }
        }
    }
    all
}

/// What the rules say in words; each verdict has its own condition.
fn expected(facts: &Facts) -> Vec<Verdict> {
    let dead = matches!(facts.swim, Swim::Down(_));
    let silent = facts.session != Session::Up;
    let none = facts.session == Session::Down;
    let (failed, answered) = (facts.confirmation == Confirmation::Failed, facts.confirmation == Confirmation::Answered);
    let nobody_to_ask = facts.swim == Swim::Alone && none;
    let unheard = facts.swim == Swim::Unheard && none && !answered;
    let isolated = !none && dead && answered;
    let down = silent && failed && (dead || nobody_to_ask);
    let rules = [
        (Verdict::Unknown { last: facts.last, age: facts.age }, !facts.quorum || unheard),
        (Verdict::Down, facts.quorum && down),
        (Verdict::Isolated, facts.quorum && isolated),
        (Verdict::Online, facts.quorum && !none && !isolated && !down),
        (Verdict::Unmanaged, facts.quorum && none && !down && !unheard),
    ];
    rules.into_iter().filter(|(_, holds)| *holds).map(|(verdict, _)| verdict).collect()
}

#[test]
fn each_combination_has_one_verdict() {
    let all = facts();
    assert_eq!(all.len(), 3 * 6 * 4 * 2 * 3);
    for facts in all {
        assert_eq!(expected(&facts), [judge(&facts)], "{facts:?}");
    }
}

#[test]
fn nobody_is_down_without_a_failed_confirmation_or_while_heard() {
    for facts in facts().into_iter().filter(|facts| judge(facts) == Verdict::Down) {
        assert!(facts.quorum && facts.session != Session::Up && facts.confirmation == Confirmation::Failed);
    }
}

#[test]
fn the_evidence_is_a_sentence() {
    let accusers: Vec<Uid> = (1..=5).map(Uid::from_u128).collect();
    let facts = Facts {
        session: Session::Mute,
        session_for: Duration::from_millis(2_600),
        swim: Swim::Down(accusers.clone()),
        swim_for: Duration::from_millis(510),
        confirmation: Confirmation::Failed,
        quorum: true,
        last: Some(Standing::Online),
        age: Duration::ZERO,
    };
    let [a, b, c, ..] = &accusers[..] else { panic!("five accusers") };
    assert_eq!(
        facts.to_string(),
        format!(
            "session up but silent for 2600 ms; down say {a}, {b}, {c} and 2 others for 510 ms; confirmation failed"
        )
    );
    let old = Verdict::Unknown { last: Some(Standing::Online), age: Duration::from_secs(12) };
    assert_eq!(old.to_string(), "unknown, online 12 s ago");
    assert_eq!(Verdict::Unknown { last: None, age: Duration::ZERO }.to_string(), "unknown");
}
