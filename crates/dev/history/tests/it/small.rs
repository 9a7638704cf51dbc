//! Small histories of any shape: the checker says what trying every order says.

use std::time::Duration;

use acp_dev_history::{Action, Operation, check};
use proptest::prelude::*;

fn action() -> impl Strategy<Value = u8> {
    0_u8..4
}

/// Up to seven calls on one object, at any times; each writes a value of its own and finds any.
fn history() -> impl Strategy<Value = Vec<Operation>> {
    let call = (action(), 0_u64..8, 0_u64..20, 0_u64..8, any::<bool>());
    proptest::collection::vec(call, 1..7).prop_map(|calls| {
        let operation = |(number, (kind, found, begun, took, is_known)): (usize, (u8, u64, u64, u64, bool))| {
            let to = number as u64 + 1;
            let action = match kind {
                0 => Action::Read((found > 0).then_some(found)),
                1 => Action::Write(to),
                2 => Action::Swap { from: found, to, done: true },
                _ => Action::Swap { from: found, to, done: false },
            };
            let is_known = is_known || matches!(action, Action::Swap { done: false, .. });
            let ended = is_known.then(|| Duration::from_micros(begun + took));
            Operation { object: 0, client: to, action, begun: Duration::from_micros(begun), ended }
        };
        calls.into_iter().enumerate().map(operation).collect()
    })
}

/// Whether some order explains the answers: every known call, and any of the unknown ones.
fn exhaustive(rest: &[Operation], held: Option<u64>) -> bool {
    if rest.iter().all(|one| one.ended.is_none()) {
        return true;
    }
    (0..rest.len()).any(|first| {
        let one = rest[first];
        let is_first = rest.iter().all(|other| other.ended.is_none_or(|ended| ended >= one.begun));
        let others: Vec<Operation> =
            rest.iter().enumerate().filter(|(at, _)| *at != first).map(|(_, one)| *one).collect();
        // What became of an unknown swap is not known either.
        let is_noop = matches!(one.action, Action::Swap { done: true, .. }) && one.ended.is_none();
        let after = match one.action {
            Action::Read(seen) => (one.ended.is_none() || seen == held).then_some(held),
            Action::Write(value) => Some(Some(value)),
            Action::Swap { from, to, done: true } if held == Some(from) => Some(Some(to)),
            Action::Swap { from, done: false, .. } if held != Some(from) => Some(held),
            Action::Swap { .. } => is_noop.then_some(held),
        };
        is_first && after.is_some_and(|after| exhaustive(&others, after))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_says_what_trying_every_order_says(history in history()) {
        let is_explained = exhaustive(&history, None);
        let holds = check(&history).is_ok();
        prop_assert!(holds || !is_explained, "a false alarm");
        // What may stand in the way of a refused swap is not looked for.
        let is_refused = |one: &Operation| matches!(one.action, Action::Swap { done: false, .. });
        let doubtful = history.iter().any(is_refused) && history.iter().any(|one| one.ended.is_none());
        prop_assert!(!holds || is_explained || doubtful, "a violation went unnoticed");
    }
}
