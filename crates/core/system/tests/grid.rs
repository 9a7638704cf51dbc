//! Every phase against every input. The transcript in `grid.txt` says what each pair does, so that a change of behaviour
//! shows as a change of that file; what must hold for all pairs is asserted here.

use std::{fmt::Write as _, time::Duration};

use acp_base::{BootInstant, Failure, Uid};
use acp_core_system::{Durable, Effect, Guest, Input, Origin, Sight, Step, System, Task, policy};
use acp_wire_model::{
    system::{ExitReason, PowerIntent},
    unit::UnitExit,
};

const NOW: BootInstant = BootInstant::from_millis(1_000_000);
const SHUTDOWN: Task = Task::Shutdown { timeout: Duration::from_secs(60), force: false };
const FORCED: Task = Task::Shutdown { timeout: Duration::from_secs(60), force: true };

fn exit(status: Option<i32>, signal: Option<i32>, out_of_memory: bool) -> UnitExit {
    UnitExit { status, signal, out_of_memory, lost: false }
}

fn ended() -> Sight {
    Sight::Ended(exit(Some(0), None, false))
}

fn killed() -> Sight {
    Sight::Ended(exit(None, Some(9), false))
}

fn units(qemu: Sight, vmm: Sight) -> Input {
    Input::Units { qemu, vmm }
}

fn made(power: PowerIntent) -> Durable {
    Durable { power, made: true, ..Durable::declared() }
}

fn new(durable: Durable, task: Option<Task>) -> System {
    System::new("demo".parse().expect("a name"), Uid::from_u128(7), Origin { durable, task, same_boot: true })
}

/// Feeds inputs one after the other; the answers of steps carry the attempt the machine asked for last.
fn feed(mut system: System, inputs: &[Input]) -> System {
    let mut attempt = 0;
    for input in inputs {
        let mut out = Vec::new();
        let mut input = input.clone();
        if let Input::Done { attempt: slot, .. } = &mut input {
            *slot = attempt;
        }
        let now = if input == Input::Tick { system.next_deadline().expect("it waits") } else { NOW };
        system.step(now, input, &mut out);
        attempt = last_attempt(&out).unwrap_or(attempt);
    }
    system
}

fn last_attempt(out: &[Effect]) -> Option<u32> {
    out.iter().rev().find_map(|effect| match effect {
        Effect::Perform { attempt, .. } => Some(*attempt),
        _ => None,
    })
}

fn done(step: Step) -> Input {
    Input::Done { step, attempt: 0, result: Ok(()) }
}

fn failed(step: Step, failure: Failure) -> Input {
    Input::Done { step, attempt: 0, result: Err(failure) }
}

/// Every phase with the way that leads there. The second value is the attempt that answers must carry.
fn states() -> Vec<(&'static str, System, u32)> {
    let absent = || units(Sight::Absent, Sight::Absent);
    let alive = || units(Sight::Alive, Sight::Alive);
    let off = || made(PowerIntent::Off);
    let on = || made(PowerIntent::On);
    let stopped = || vec![absent()];
    let join = |mut head: Vec<Input>, tail: Vec<Input>| {
        head.extend(tail);
        head
    };
    let leasing = || join(stopped(), vec![Input::Begin(Task::Start)]);
    let preparing = || join(leasing(), vec![done(Step::TakeLease)]);
    let spawning = || join(preparing(), vec![done(Step::CheckLimits), done(Step::OpenVolumes), done(Step::OpenTaps)]);
    let spawned = || join(spawning(), vec![done(Step::SpawnQemu), done(Step::SpawnVmm)]);
    let resuming = || join(spawned(), vec![Input::Machine(Guest::Prelaunch)]);
    let running = || join(resuming(), vec![Input::Machine(Guest::Running)]);
    let adopted = || vec![alive(), Input::Machine(Guest::Running)];
    let kill = || units(killed(), Sight::Alive);
    let mut states = vec![
        ("settling", feed(new(on(), None), &[]), 0),
        ("settling, start interrupted", feed(new(off(), Some(Task::Start)), &[]), 0),
        ("settling, shutdown interrupted", feed(new(on(), Some(SHUTDOWN)), &[]), 0),
        ("settling, deleting", feed(new(Durable { deleting: true, ..off() }, None), &[]), 0),
        ("creating, by a job", feed(new(Durable::declared(), Some(Task::Create)), &[absent()]), 0),
        ("creating, declared", feed(new(Durable::declared(), None), &[absent()]), 0),
        (
            "unmaking",
            feed(
                new(Durable::declared(), Some(Task::Create)),
                &[absent(), failed(Step::MakeVolumes, Failure::unavailable("no"))],
            ),
            0,
        ),
        ("stopped", feed(new(off(), None), &stopped()), 0),
        ("leasing, by a job", feed(new(off(), None), &leasing()), 1),
        ("leasing, by itself", feed(new(on(), None), &[absent(), Input::Tick]), 1),
        ("preparing, by a job", feed(new(off(), None), &preparing()), 1),
        ("preparing, by itself", feed(new(on(), None), &[absent(), Input::Tick, done(Step::TakeLease)]), 1),
        ("spawning", feed(new(off(), None), &spawning()), 1),
        ("spawning, spawned", feed(new(off(), None), &spawned()), 1),
        ("resuming", feed(new(off(), None), &resuming()), 1),
        ("adopting", feed(new(on(), None), &[alive()]), 0),
        ("adopting, start interrupted", feed(new(on(), Some(Task::Start)), &[alive()]), 0),
        ("running", feed(new(off(), None), &running()), 1),
        ("running, adopted", feed(new(on(), None), &adopted()), 0),
        ("shutting down", feed(new(on(), None), &join(adopted(), vec![Input::Begin(SHUTDOWN)])), 0),
        ("shutting down, forced", feed(new(on(), None), &join(adopted(), vec![Input::Begin(FORCED)])), 0),
        ("quitting", feed(new(on(), None), &join(adopted(), vec![Input::Begin(Task::Stop)])), 0),
        ("ending", feed(new(on(), None), &join(adopted(), vec![units(ended(), Sight::Alive)])), 0),
        (
            "removing, stopped by a job",
            feed(new(on(), None), &join(adopted(), vec![Input::Begin(Task::Stop), absent()])),
            0,
        ),
        ("removing, start failed", feed(new(off(), None), &join(spawned(), vec![units(killed(), Sight::Alive)])), 1),
        (
            "removing, start failed while spawning",
            feed(new(off(), None), &join(spawning(), vec![failed(Step::SpawnVmm, Failure::unavailable("no"))])),
            1,
        ),
        ("removing, killed", feed(new(on(), None), &join(adopted(), vec![kill()])), 0),
        ("backoff", feed(new(on(), None), &join(adopted(), vec![kill(), done(Step::RemoveUnits)])), 0),
        ("deleting", feed(new(off(), None), &join(stopped(), vec![Input::Begin(Task::Delete)])), 0),
        (
            "deleting volumes",
            feed(new(off(), None), &join(stopped(), vec![Input::Begin(Task::Delete), done(Step::RemoveUnits)])),
            0,
        ),
        (
            "deleting the declaration",
            feed(
                new(off(), None),
                &join(stopped(), vec![Input::Begin(Task::Delete), done(Step::RemoveUnits), done(Step::DeleteVolumes)]),
            ),
            0,
        ),
        ("gone", feed(new(off(), None), &[absent(), Input::SpecGone]), 0),
    ];
    states.push(("failed", failed_system(), 0));
    states.push(("running, no longer declared", feed(new(on(), None), &join(adopted(), vec![Input::SpecGone])), 0));
    states
}

/// A system whose disks cannot be opened although its intent is on.
fn failed_system() -> System {
    let mut system = new(made(PowerIntent::On), None);
    let mut now = NOW;
    system.step(now, units(Sight::Absent, Sight::Absent), &mut Vec::new());
    for _ in 0..policy::RESTARTS_MAX {
        now = system.next_deadline().expect("it waits to be started again");
        let mut out = Vec::new();
        system.step(now, Input::Tick, &mut out);
        let attempt = last_attempt(&out).expect("it prepares");
        system.step(now, Input::Done { step: Step::TakeLease, attempt, result: Ok(()) }, &mut Vec::new());
        let result = Err(Failure::not_found("no volume"));
        system.step(now, Input::Done { step: Step::OpenVolumes, attempt, result }, &mut Vec::new());
    }
    system
}

fn inputs(attempt: u32) -> Vec<(String, Input)> {
    let mut inputs: Vec<(String, Input)> = Vec::new();
    for task in [Task::Create, Task::Start, Task::Stop, SHUTDOWN, FORCED, Task::Delete] {
        let forced = if task == FORCED { " forced" } else { "" };
        inputs.push((format!("begin {}{forced}", task.verb()), Input::Begin(task)));
    }
    inputs.push(("cancel".into(), Input::Cancel));
    for step in Step::ALL {
        let later = Failure::unavailable("try later");
        let never = Failure::precondition("never");
        inputs.push((format!("{step:?} ok"), Input::Done { step, attempt, result: Ok(()) }));
        inputs.push((format!("{step:?} failed"), Input::Done { step, attempt, result: Err(later) }));
        inputs.push((format!("{step:?} refused"), Input::Done { step, attempt, result: Err(never) }));
    }
    let sights = [
        ("none", Sight::Absent),
        ("alive", Sight::Alive),
        ("leaving", Sight::Leaving),
        ("ended 0", ended()),
        ("ended by 9", killed()),
        ("out of memory", Sight::Ended(exit(None, Some(9), true))),
    ];
    for (name, qemu) in sights {
        inputs.push((format!("units {name}, vmm alive"), units(qemu.clone(), Sight::Alive)));
        inputs.push((format!("units {name}, vmm none"), units(qemu, Sight::Absent)));
    }
    inputs.push(("units alive, vmm ended".into(), units(Sight::Alive, killed())));
    let guests = [
        Guest::Connecting,
        Guest::Prelaunch,
        Guest::Running,
        Guest::Paused,
        Guest::Off { by_guest: true },
        Guest::Off { by_guest: false },
        Guest::Gone { by_guest: true },
        Guest::Gone { by_guest: false },
    ];
    inputs.extend(guests.map(|guest| (format!("machine {guest:?}"), Input::Machine(guest))));
    inputs.push(("declaration gone".into(), Input::SpecGone));
    inputs.push(("deadline".into(), Input::Tick));
    inputs
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Save(durable) => {
            let exit = durable.exit.map_or(String::new(), |exit| format!(" {exit:?}"));
            let deleting = if durable.deleting { " deleting" } else { "" };
            format!("save {:?}{exit}{deleting}", durable.power)
        }
        Effect::Perform { step, .. } => format!("{step:?}"),
        Effect::WatchMachine => "watch".into(),
        Effect::ForgetMachine => "unwatch".into(),
        Effect::Progress(_) => String::new(),
        Effect::Finish { task, result } => match result {
            Ok(()) => format!("finish {} ok", task.verb()),
            Err(failure) => format!("finish {} {}", task.verb(), failure.code.name()),
        },
        Effect::Report(report) => format!("report {:?}", report.state),
        Effect::Forget => "forget".into(),
    }
}

fn check_all_pairs(name: &str, before: &System, after: &System, input: &Input, out: &[Effect]) {
    let saves: Vec<usize> = (0..out.len()).filter(|at| matches!(out[*at], Effect::Save(_))).collect();
    assert!(saves.is_empty() || saves == [0], "{name}, {input:?}: what is saved is saved first: {out:?}");
    let changed = before.durable() != after.durable() && after.phase_name() != "gone";
    assert_eq!(changed, !saves.is_empty(), "{name}, {input:?}: every durable change is saved: {out:?}");
    let finished = out.iter().filter(|effect| matches!(effect, Effect::Finish { .. })).count();
    assert!(finished <= 2, "{name}, {input:?}: a task and the one it replaces: {out:?}");
    let kills = out.iter().any(|effect| matches!(effect, Effect::Perform { step: Step::Quit | Step::RemoveUnits, .. }));
    let guest_runs = before.phase_name() == "running" || before.phase_name() == "adopting";
    let qemu_over = matches!(input, Input::Units { qemu: Sight::Ended(_) | Sight::Absent, .. });
    let cancelled = matches!(input, Input::Cancel);
    if kills && guest_runs && !qemu_over && !cancelled {
        assert_eq!(after.durable().power, PowerIntent::Off, "{name}, {input:?}: only an intent of off ends a guest");
    }
}

fn transcript() -> String {
    let mut text = String::new();
    for (name, before, attempt) in states() {
        writeln!(text, "{name} ({})", before.phase_name()).expect("a string");
        let mut ignored = 0;
        for (label, input) in inputs(attempt) {
            let now = before.next_deadline().unwrap_or(NOW).max(NOW);
            let (mut after, mut out) = (before.clone(), Vec::new());
            after.step(now, input.clone(), &mut out);
            check_all_pairs(name, &before, &after, &input, &out);
            if after == before && out.is_empty() {
                ignored += 1;
                continue;
            }
            let effects: Vec<String> = out.iter().map(effect).filter(|text| !text.is_empty()).collect();
            writeln!(text, "    {label} -> {}: {}", after.phase_name(), effects.join(", ")).expect("a string");
        }
        writeln!(text, "    the other {ignored} inputs change nothing").expect("a string");
    }
    text
}

#[test]
fn every_pair_does_what_the_transcript_says() {
    let actual = transcript();
    let expected = include_str!("grid.txt");
    if actual != expected {
        let path = concat!(env!("CARGO_TARGET_TMPDIR"), "/grid.txt");
        std::fs::write(path, &actual).expect("the target directory can be written");
        let line = actual.lines().zip(expected.lines()).position(|(left, right)| left != right);
        panic!("the machine differs from tests/grid.txt, first in line {line:?}; what it does now is in {path}");
    }
}

#[test]
fn every_phase_is_in_the_grid() {
    let seen: std::collections::BTreeSet<_> = states().iter().map(|(_, system, _)| system.phase_name()).collect();
    let all = [
        "settling",
        "creating",
        "unmaking",
        "stopped",
        "preparing",
        "spawning",
        "resuming",
        "adopting",
        "running",
        "shutting-down",
        "quitting",
        "ending",
        "removing",
        "removing-undo",
        "removing-again",
        "backoff",
        "failed",
        "deleting-units",
        "deleting-volumes",
        "deleting-spec",
        "gone",
    ];
    for phase in all {
        assert!(seen.contains(phase), "no way to {phase} is tested");
    }
}

#[test]
fn answers_of_an_attempt_that_was_given_up_are_ignored() {
    for (name, before, attempt) in states() {
        for step in Step::ALL {
            let (mut after, mut out) = (before.clone(), Vec::new());
            after.step(NOW, Input::Done { step, attempt: attempt + 7, result: Ok(()) }, &mut out);
            assert_eq!(after, before, "{name}: {step:?} of another attempt");
            assert!(out.is_empty());
        }
    }
}

#[test]
fn a_creation_that_was_interrupted_after_its_last_step_has_succeeded() {
    let mut out = Vec::new();
    let mut system = new(made(PowerIntent::Off), Some(Task::Create));
    system.step(BootInstant::default(), units(Sight::Absent, Sight::Absent), &mut out);
    let finished = |effect: &Effect| matches!(effect, Effect::Finish { task: Task::Create, result: Ok(()) });
    assert_eq!(out.iter().filter(|effect| finished(effect)).count(), 1, "{out:?}");
    assert!(!out.iter().any(|effect| matches!(effect, Effect::Perform { .. })), "nothing is done again: {out:?}");
}

#[test]
fn an_unexpected_end_says_why() {
    let cases = [
        (killed(), ExitReason::Killed),
        (Sight::Ended(exit(None, Some(9), true)), ExitReason::OutOfMemory),
        (Sight::Ended(exit(None, Some(11), false)), ExitReason::Crashed),
        (Sight::Ended(exit(Some(1), None, false)), ExitReason::Crashed),
        (Sight::Absent, ExitReason::Killed),
    ];
    for (sight, expected) in cases {
        let mut system = feed(
            new(made(PowerIntent::On), None),
            &[units(Sight::Alive, Sight::Alive), Input::Machine(Guest::Running), units(sight.clone(), Sight::Alive)],
        );
        if let Some(deadline) = system.next_deadline() {
            system.step(deadline, Input::Tick, &mut Vec::new());
        }
        assert_eq!(system.durable().exit, Some(expected), "{sight:?}");
        assert_eq!(system.durable().power, PowerIntent::On, "an accident does not change what was asked");
    }
}
