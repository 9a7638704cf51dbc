//! Every (state, input) pair, against the table in `grid.txt`.

use std::{fmt::Write as _, time::Duration};

use acp_base::BootInstant;
use acp_core_supervise::{Input, Machine, Output, Policy, Readiness, Restart};
use acp_wire_model::unit::UnitExit;

const POLICY: Policy = Policy {
    restart: Restart::Always,
    readiness: Readiness::Notify,
    start_timeout: Duration::from_secs(30),
    stop_timeout: Duration::from_secs(10),
    watchdog: Some(Duration::from_secs(15)),
};

fn exit(status: i32) -> UnitExit {
    UnitExit { status: Some(status), signal: None, out_of_memory: false, lost: false }
}

/// Every state there is, the hidden halves of one included, as the inputs that lead to it.
fn states() -> Vec<(&'static str, Vec<Input>)> {
    use Input::{DependenciesReady, Exited, Ready, Restart, SpawnDone, Start, Stop, Tick};
    let starting = [Start, DependenciesReady];
    let running = [Start, DependenciesReady, SpawnDone];
    let ready = [Start, DependenciesReady, SpawnDone, Ready];
    let after = |path: &[Input], last: Input| path.iter().cloned().chain([last]).collect::<Vec<_>>();
    vec![
        ("stopped", vec![]),
        ("waiting", vec![Start]),
        ("starting/spawning", starting.to_vec()),
        ("starting/running", running.to_vec()),
        ("ready", ready.to_vec()),
        ("stopping/spawning", after(&starting, Stop)),
        ("stopping", after(&ready, Stop)),
        ("stopping/restart", after(&ready, Restart)),
        ("stopping/killed", after(&ready, Tick)),
        ("backoff", after(&ready, Exited(exit(1)))),
        ("failed", after(&ready, Exited(exit(78)))),
    ]
}

fn inputs() -> Vec<(&'static str, Input)> {
    vec![
        ("start", Input::Start),
        ("stop", Input::Stop),
        ("restart", Input::Restart),
        ("dependencies ready", Input::DependenciesReady),
        ("adopted", Input::Adopted { ready: false }),
        ("adopted ready", Input::Adopted { ready: true }),
        ("spawn done", Input::SpawnDone),
        ("spawn failed", Input::SpawnFailed("no such file".into())),
        ("ready", Input::Ready),
        ("exited 0", Input::Exited(exit(0))),
        ("exited 1", Input::Exited(exit(1))),
        ("exited 64", Input::Exited(exit(64))),
        ("exited 75", Input::Exited(exit(75))),
        ("shim lost", Input::ShimLost),
        ("watchdog ping", Input::WatchdogPing),
        ("tick early", Input::Tick),
        ("tick due", Input::Tick),
    ]
}

/// Steps through the path; a tick on the way comes when it is due.
fn reach(path: Vec<Input>) -> (Machine, BootInstant) {
    let mut machine = Machine::new(POLICY);
    let mut now = BootInstant::from_millis(1_000_000);
    for input in path {
        if input == Input::Tick {
            now = machine.next_deadline().expect("a tick on the way has a deadline");
        }
        machine.step(now, input, &mut Vec::new());
    }
    (machine, now)
}

fn table() -> String {
    let mut text = String::new();
    for (state, path) in states() {
        for (name, input) in inputs() {
            let (mut machine, mut now) = reach(path.clone());
            if name == "tick due" {
                now = now + Duration::from_secs(3600);
            }
            let mut out = Vec::new();
            machine.step(now, input, &mut out);
            let outputs: Vec<String> = out.iter().map(|output: &Output| format!("{output:?}")).collect();
            let after = format!("{:?}", machine.state()).to_lowercase();
            writeln!(text, "{state:<18} {name:<19} -> {after:<9} {}", outputs.join(" ")).expect("a string takes all");
        }
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn every_pair_is_decided_as_the_table_says() {
    let actual = table();
    assert!(actual == include_str!("grid.txt"), "the table is not grid.txt any more; it is now:\n{actual}");
}
