//! S1: kill -9 of each daemon and of all at once, under a guest that answers and a console that is open.
#![expect(clippy::print_stdout, reason = "how long each was away is part of the result")]

mod counting;
mod visitor;

use std::{fmt::Write as _, time::Duration};

use acp_dev_testkit::{node, process, record::Record, wait_for};
use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use self::counting::Counting;
use super::outage::{self, BACK_LIMIT, Subject};
use crate::{
    harness::Case,
    world::{LIMIT, World},
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s1_killed_daemons_are_back_and_the_guest_never_stops", run: killed }];

/// How long each was away.
type Times = Vec<(String, Duration)>;

fn killed(world: &World) -> Result<()> {
    let subject = outage::started(world, "steady")?;
    let address = world.wait_greeting("steady", 1)?;
    subject.ask_for_volume()?;
    let mut console = Counting::open(world, &subject)?;
    let (times, visits) = visitor::visiting(world, address, || kill_each_way(world, &subject, &mut console))?;
    console.verify(world)?;
    let mut said = String::new();
    for (what, time) in &times {
        write!(said, " {what} {} ms,", time.as_millis())?;
    }
    println!("    back after:{said} while {} pages were read, the slowest in {:?}", visits.count, visits.slowest);
    ensure!(times.iter().all(|(_, time)| *time <= BACK_LIMIT), "the limit is {BACK_LIMIT:?}:{said}");
    ensure!(visits.failures.is_empty(), "the guest stopped answering: {:?}", visits.failures);
    ensure!(visits.slowest <= BACK_LIMIT, "a page took {:?}", visits.slowest);
    subject.forget_volume()?;
    world
        .node
        .run(&["--yes", "system", "shutdown", "steady", "--wait"])
        .context("the node controls the guest no more")?;
    world.delete("steady")
}

fn kill_each_way(world: &World, subject: &Subject<'_>, console: &mut Counting) -> Result<Times> {
    let mut times = Times::new();
    for unit in subject.daemons() {
        times.push((unit.clone(), outage::kill(subject, &unit)?));
        survived(world, subject, console, &unit)?;
    }
    for (what, kill) in [("framework", kill_framework as Way), ("guard", kill_guard), ("all", kill_all)] {
        times.push((what.to_owned(), kill(world, subject)?));
        survived(world, subject, console, what)?;
    }
    Ok(times)
}

/// A way to end several at once; answers how long they were away.
type Way = fn(&World, &Subject<'_>) -> Result<Duration>;

fn survived(world: &World, subject: &Subject<'_>, console: &mut Counting, what: &str) -> Result<()> {
    ensure!(subject.qemu.is_alive(), "the guest died with {what}");
    ensure!(
        Subject::of(&world.node, subject.name)?.qemu == subject.qemu,
        "the node lost track of the guest with {what}"
    );
    console.goes_on().with_context(|| format!("after the end of {what}"))
}

/// Every unit with its process, in the order of names.
fn units(world: &World) -> Result<Vec<String>> {
    let mut units: Vec<String> =
        world.units()?.iter().map(|unit| format!("{} {}", unit["name"], unit["meta"]["pid"])).collect();
    units.sort();
    Ok(units)
}

fn wait_adopted(world: &World, before: &[String]) -> Result<()> {
    wait_for("the framework to have adopted every unit", LIMIT, || {
        let after = units(world).map_err(|error| format!("{error:#}"))?;
        if after == before { Ok(()) } else { Err(format!("{after:?}, before {before:?}")) }
    })?;
    node::wait_ready(world.node.layout())
}

/// Its guard starts another, which has to adopt every unit.
fn kill_framework(world: &World, subject: &Subject<'_>) -> Result<Duration> {
    let before = units(world)?;
    let framework = subject.process("framework")?;
    let at = outage::signal_all(&[framework], Signal::KILL)?;
    framework.wait_gone(LIMIT)?;
    wait_adopted(world, &before)?;
    Ok(at.elapsed())
}

/// The framework ends with its guard; units run on. Whatever started the guard starts another: an init, or `up`.
fn kill_guard(world: &World, subject: &Subject<'_>) -> Result<Duration> {
    let before = units(world)?;
    let framework = subject.process("framework")?;
    let guard = guard(world)?;
    let at = outage::signal_all(&[guard], Signal::KILL)?;
    framework.wait_gone(outage::TOLD_LIMIT).context("the framework goes on without its guard")?;
    world.node.boot()?;
    wait_adopted(world, &before)?;
    Ok(at.elapsed())
}

fn guard(world: &World) -> Result<process::Identity> {
    Ok(Record::load(world.node.layout())?.context("the node has a guard")?.guard)
}

/// Everything but the guest and the shims, which have no part in any decision.
fn kill_all(world: &World, subject: &Subject<'_>) -> Result<Duration> {
    let mut victims = vec![guard(world)?];
    let is_kept = |name: &str| name.starts_with("qemu-system") || name == "acp-shim";
    victims.extend(world.node.processes().into_iter().filter(|process| !is_kept(&process::name(process.pid))));
    let daemons = subject.daemons();
    let before: Vec<_> = daemons.iter().map(|unit| subject.process(unit)).collect::<Result<_>>()?;
    ensure!(before.iter().all(|daemon| victims.contains(daemon)), "not all of {before:?} are among {victims:?}");
    let at = outage::signal_all(&victims, Signal::KILL)?;
    victims.iter().try_for_each(|victim| victim.wait_gone(LIMIT))?;
    world.node.boot()?;
    for (unit, before) in daemons.iter().zip(before) {
        outage::wait_works(subject, unit, before, LIMIT)?;
    }
    Ok(at.elapsed())
}
