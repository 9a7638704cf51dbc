//! Whole histories: as long as those of a cluster under faults.

use std::time::{Duration, Instant};

use acp_dev_history::{Action, Operation, Recorder, check};

use crate::made::{Random, Size, linearizable};

const LONG: Size = Size { clients: 64, objects: 8, calls: 20_000, unknown: 2 };
/// A check that takes longer is no help to anybody: a debug build on a busy machine.
const CHECK_LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_long_linearizable_history_holds_quickly() {
    let history = linearizable(LONG, &mut Random(1));
    assert!(history.len() >= 10_000, "only {} operations", history.len());
    assert!(history.iter().any(|one| one.ended.is_none()), "nothing is unknown");
    let started = Instant::now();
    if let Err(violation) = check(&history) {
        panic!("{violation}");
    }
    assert!(started.elapsed() < CHECK_LIMIT, "it took {:?}", started.elapsed());
}

/// A read that answers what was overwritten, by a write that had been acknowledged before the read began.
#[test]
fn a_stale_read_in_a_long_history_is_caught() {
    for seed in 0..4 {
        let mut history = linearizable(LONG, &mut Random(seed));
        let stale = make_stale(&mut history);
        let started = Instant::now();
        let violation = check(&history).expect_err("a stale read went unnoticed");
        assert_eq!(violation.object, stale.object, "seed {seed}: {violation}");
        assert!(started.elapsed() < CHECK_LIMIT, "it took {:?}", started.elapsed());
    }
}

/// Lets a read in the middle answer what was there two writes before it.
fn make_stale(history: &mut [Operation]) -> Operation {
    let written = |one: &Operation| match one.action {
        Action::Write(value) => one.ended.map(|ended| (value, one.begun, ended)),
        Action::Read(_) | Action::Swap { .. } => None,
    };
    let middle = history.len() / 2;
    let is_read = |one: &Operation| matches!(one.action, Action::Read(Some(_))) && one.ended.is_some();
    let at = (middle..history.len()).find(|at| is_read(&history[*at])).expect("there are reads");
    let read = history[at];
    let mut before: Vec<_> = history
        .iter()
        .filter(|one| one.object == read.object)
        .filter_map(written)
        .filter(|(_, _, ended)| *ended < read.begun)
        .collect();
    before.sort_by_key(|(_, _, ended)| *ended);
    let (_, newest_begun, _) = *before.last().expect("something was written before");
    let old = before.iter().rev().find(|(_, _, ended)| *ended < newest_begun).expect("and something before that");
    history[at].action = Action::Read(Some(old.0));
    history[at]
}

#[test]
fn a_recorder_keeps_who_overlapped_whom() {
    let recorder = Recorder::default();
    let begun = recorder.now();
    recorder.answered(1, 1, begun, Action::Write(7));
    let begun = recorder.now();
    recorder.unknown(1, 2, begun, Action::Write(8));
    recorder.answered(1, 1, begun, Action::Read(Some(8)));
    assert_eq!(recorder.len(), 3);
    let mut history = recorder.history();
    assert_eq!(check(&history), Ok(()), "what is unknown may have happened");
    history[2].action = Action::Read(Some(9));
    check(&history).expect_err("nobody has written a 9");
    history[2].action = Action::Read(None);
    check(&history).expect_err("the 7 was written before the read began");
}
