//! What a unit does over time.

use std::time::Duration;

use acp_base::BootInstant;
use acp_core_supervise::{ENDS_MAX, Input, Machine, Output, PAUSE_MIN, Past, Policy, Readiness, Restart};
use acp_wire_model::unit::{UnitExit, UnitState};

const DAEMON: Policy = Policy {
    restart: Restart::Always,
    readiness: Readiness::Notify,
    start_timeout: Duration::from_secs(30),
    stop_timeout: Duration::from_secs(10),
    watchdog: Some(Duration::from_secs(15)),
};

struct Unit {
    machine: Machine,
    now: BootInstant,
}

impl Unit {
    fn ready(policy: Policy) -> Self {
        let mut unit = Self { machine: Machine::new(policy), now: BootInstant::from_millis(5_000) };
        unit.feed(Input::Start);
        unit.run_again();
        unit
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        out
    }

    fn run_again(&mut self) {
        assert_eq!(self.machine.state(), UnitState::Waiting);
        assert!(self.feed(Input::DependenciesReady).contains(&Output::Spawn));
        self.feed(Input::SpawnDone);
        self.feed(Input::Ready);
        assert_eq!(self.machine.state(), UnitState::Ready);
    }

    /// Lets time pass up to the next deadline and returns how long that was.
    fn wait(&mut self) -> (Duration, Vec<Output>) {
        let deadline = self.machine.next_deadline().expect("something is due");
        let passed = deadline.since(self.now);
        self.now = deadline;
        (passed, self.feed(Input::Tick))
    }
}

fn status(status: i32) -> Input {
    Input::Exited(UnitExit { status: Some(status), signal: None, out_of_memory: false, lost: false })
}

fn signal(signal: i32) -> Input {
    Input::Exited(UnitExit { status: None, signal: Some(signal), out_of_memory: false, lost: false })
}

#[test]
fn a_crash_loop_ends_after_doubling_pauses() {
    let mut unit = Unit::ready(DAEMON);
    let mut pauses = Vec::new();
    for _ in 1..ENDS_MAX {
        unit.feed(status(1));
        assert_eq!(unit.machine.state(), UnitState::Backoff);
        pauses.push(unit.wait().0.as_millis());
        unit.run_again();
    }
    unit.feed(status(1));
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400]);
    assert_eq!(unit.machine.state(), UnitState::Failed);
    assert_eq!(
        unit.machine.reason(),
        "ended 8 times within 60 s and is not started again; the last time it ended with status 1"
    );
    unit.feed(Input::Start);
    unit.run_again();
    assert_eq!(unit.machine.restarts(), 7);
}

#[test]
fn ten_good_seconds_reset_the_pause() {
    let mut unit = Unit::ready(DAEMON);
    for _ in 0..3 {
        unit.feed(signal(11));
        unit.wait();
        unit.run_again();
    }
    unit.now = unit.now + Duration::from_secs(10);
    unit.feed(signal(11));
    assert_eq!(unit.wait().0, PAUSE_MIN);
}

#[test]
fn temporary_trouble_is_never_final() {
    let mut unit = Unit::ready(DAEMON);
    for _ in 0..50 {
        unit.feed(status(75));
        assert_eq!(unit.machine.state(), UnitState::Backoff);
        unit.wait();
        unit.run_again();
    }
}

#[test]
fn a_refusal_is_final_whatever_the_policy() {
    for (code, restart) in
        [(64, Restart::Always), (78, Restart::Always), (78, Restart::OnFailure), (64, Restart::Never)]
    {
        let mut unit = Unit::ready(Policy { restart, ..DAEMON });
        unit.feed(status(code));
        assert_eq!(unit.machine.state(), UnitState::Failed, "{code} {restart:?}");
        assert!(unit.machine.reason().contains(&code.to_string()));
    }
}

#[test]
fn done_is_stopped_unless_it_shall_always_run() {
    for (restart, state) in [
        (Restart::Always, UnitState::Backoff),
        (Restart::OnFailure, UnitState::Stopped),
        (Restart::Never, UnitState::Stopped),
    ] {
        let mut unit = Unit::ready(Policy { restart, ..DAEMON });
        unit.feed(status(0));
        assert_eq!(unit.machine.state(), state, "{restart:?}");
    }
}

#[test]
fn a_frozen_unit_is_killed_and_replaced() {
    let mut unit = Unit::ready(DAEMON);
    unit.now = unit.now + Duration::from_secs(14);
    unit.feed(Input::WatchdogPing);
    let (silence, out) = unit.wait();
    assert_eq!(silence, Duration::from_secs(15));
    assert_eq!(out, [Output::Kill, Output::Changed]);
    assert_eq!(unit.machine.reason(), "gave no sign of life for 15 s");
    let (again, out) = unit.wait();
    assert_eq!((again, out), (Duration::from_secs(1), vec![Output::Kill]));
    unit.feed(signal(9));
    assert_eq!(unit.machine.state(), UnitState::Backoff);
    unit.wait();
    unit.run_again();
    assert_eq!(unit.machine.restarts(), 1);
}

#[test]
fn a_unit_that_does_not_stop_is_killed() {
    let mut unit = Unit::ready(DAEMON);
    assert_eq!(unit.feed(Input::Stop), [Output::Terminate, Output::Changed]);
    let (patience, out) = unit.wait();
    assert_eq!(patience, Duration::from_secs(10));
    assert_eq!(out, [Output::Changed, Output::Kill]);
    unit.feed(signal(9));
    assert_eq!(unit.machine.state(), UnitState::Stopped);
    assert_eq!(unit.machine.reason(), "had to be killed: it did not end within 10 s");
    assert_eq!(unit.machine.next_deadline(), None);
}

#[test]
fn a_unit_that_is_never_ready_is_killed_and_tried_again() {
    let mut unit = Unit { machine: Machine::new(DAEMON), now: BootInstant::from_millis(1) };
    unit.feed(Input::Start);
    unit.feed(Input::DependenciesReady);
    unit.feed(Input::SpawnDone);
    let (patience, out) = unit.wait();
    assert_eq!((patience, out), (Duration::from_secs(30), vec![Output::Kill, Output::Changed]));
    unit.feed(signal(9));
    assert_eq!(unit.machine.reason(), "was not ready within 30 s");
    assert_eq!(unit.machine.state(), UnitState::Backoff);
}

#[test]
fn a_lost_shim_is_told_and_the_unit_goes_on() {
    let mut unit = Unit::ready(DAEMON);
    assert_eq!(unit.feed(Input::ShimLost), [Output::Changed]);
    assert_eq!(unit.machine.state(), UnitState::Ready);
    assert!(unit.machine.reason().contains("shim was lost"));
    unit.feed(Input::Exited(UnitExit { status: None, signal: None, out_of_memory: false, lost: true }));
    assert_eq!(unit.machine.state(), UnitState::Backoff);
}

#[test]
fn an_adopted_unit_is_what_it_was() {
    for (ready, state) in [(true, UnitState::Ready), (false, UnitState::Starting)] {
        let mut unit = Unit {
            machine: Machine::with_past(DAEMON, Past { restarts: 3, ..Past::default() }),
            now: BootInstant::from_millis(1),
        };
        unit.feed(Input::Adopted { ready });
        assert_eq!(unit.machine.state(), state);
        assert_eq!(unit.machine.restarts(), 3);
        assert!(unit.machine.next_deadline().is_some(), "a frozen one is noticed");
    }
}

#[test]
fn a_start_while_it_stops_starts_it_again() {
    let mut unit = Unit::ready(DAEMON);
    unit.feed(Input::Stop);
    unit.feed(Input::Start);
    unit.feed(status(0));
    unit.run_again();
    assert_eq!(unit.machine.restarts(), 0);
}

#[test]
fn a_failed_unit_stays_failed_over_a_change_of_supervisor() {
    let past = Past { failed: Some("was ended by signal 9".into()), ..Past::default() };
    let mut unit = Unit { machine: Machine::with_past(DAEMON, past), now: BootInstant::from_millis(1) };
    assert_eq!((unit.machine.state(), unit.machine.reason()), (UnitState::Failed, "was ended by signal 9"));
    unit.feed(Input::Start);
    unit.run_again();
}
