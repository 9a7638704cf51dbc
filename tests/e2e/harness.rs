//! Runs cases on two nodes, on each one after the other.
#![expect(clippy::print_stdout, reason = "what a test runner says is its result")]

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::world::World;

/// A case: its name is a sentence.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&World) -> Result<()>,
}

/// Where and when a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the first node before all others, with the machine to itself: for promises in seconds.
    Alone,
    /// On the first node.
    First,
    /// On a second node, beside those on the first: for cases that mostly wait and those that bear a busy machine.
    Beside,
    /// On the first node when all others are done: for cases that look at the whole machine.
    Last,
}

/// What the command line asks for.
#[derive(Default)]
struct Wishes {
    list: bool,
    ignored_only: bool,
    exact: bool,
    filters: Vec<String>,
}

impl Wishes {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut wishes = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => wishes.list = true,
                "--ignored" => wishes.ignored_only = true,
                "--exact" => wishes.exact = true,
                "--format" | "--test-threads" | "--color" => drop(arguments.next()),
                option if option.starts_with('-') => {}
                filter => wishes.filters.push(filter.to_owned()),
            }
        }
        wishes
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        !self.ignored_only && (self.filters.is_empty() || self.filters.iter().any(fits))
    }
}

/// Runs what the command line asks for; `place` says where a case of a name runs.
pub(crate) fn run(cases: &[Case], place: fn(&str) -> Place) -> ExitCode {
    let wishes = Wishes::parse(std::env::args().skip(1));
    let wanted: Vec<&Case> = cases.iter().filter(|case| wishes.wants(case.name)).collect();
    if wishes.list {
        wanted.iter().for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} end-to-end tests", wanted.len());
    if wanted.is_empty() {
        return conclude(0, &[], 0, Duration::ZERO);
    }
    if let Some(reason) = World::lacks() {
        println!("SKIPPED, all of them: {reason}");
        let strict = std::env::var_os("ACP_E2E_STRICT").is_some();
        let failed: Vec<&str> = if strict { wanted.iter().map(|case| case.name).collect() } else { Vec::new() };
        return conclude(0, &failed, wanted.len() - failed.len(), Duration::ZERO);
    }
    let started = Instant::now();
    let tally = run_all(&wanted, place);
    conclude(tally.passed, &tally.failed, 0, started.elapsed())
}

fn run_all(wanted: &[&Case], place_of: fn(&str) -> Place) -> Tally {
    let at = |place| wanted.iter().copied().filter(|case| place_of(case.name) == place).collect::<Vec<&Case>>();
    let (first, beside) = (at(Place::First), at(Place::Beside));
    let lane = Lane::default().run(&at(Place::Alone));
    let mut lanes = thread::scope(|scope| {
        let second = scope.spawn(|| Lane::default().run(&beside));
        let first = lane.run(&first);
        [first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))]
    });
    lanes[0] = std::mem::take(&mut lanes[0]).run(&at(Place::Last));
    // Only now, because nodes share the machine's devices.
    let mut tally = Tally::default();
    for lane in lanes {
        let ended = lane.end();
        tally.passed += ended.passed;
        tally.failed.extend(ended.failed);
    }
    tally
}

/// What has come of some cases.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<&'static str>,
}

/// A node, started when its first case runs, and what has come of its cases.
#[derive(Default)]
struct Lane {
    world: Option<World>,
    tally: Tally,
}

impl Lane {
    fn run(mut self, cases: &[&Case]) -> Self {
        if self.world.is_none() && !cases.is_empty() {
            match World::start() {
                Ok(world) => self.world = Some(world),
                Err(error) => {
                    println!("the node does not start: {error:#}");
                    self.tally.failed.extend(cases.iter().map(|case| case.name));
                }
            }
        }
        if let Some(world) = &self.world {
            cases.iter().for_each(|case| run_one(case, world, &mut self.tally));
        }
        self
    }

    /// Takes the node down, which has to leave nothing behind.
    fn end(mut self) -> Tally {
        match self.world.map(World::end) {
            None => {}
            Some(Ok(())) => {
                self.tally.passed += 1;
                println!("test the node leaves nothing behind ... ok");
            }
            Some(Err(error)) => {
                self.tally.failed.push("the node leaves nothing behind");
                println!("test the node leaves nothing behind ... FAILED\n    {error:#}");
            }
        }
        self.tally
    }
}

fn run_one(case: &Case, world: &World, tally: &mut Tally) {
    let started = Instant::now();
    let result = (case.run)(world);
    let seconds = started.elapsed().as_secs_f64();
    match result {
        Ok(()) => {
            tally.passed += 1;
            println!("test {} ... ok ({seconds:.1} s)", case.name);
        }
        Err(error) => {
            tally.failed.push(case.name);
            let evidence = world.evidence(case.name);
            println!("test {} ... FAILED ({seconds:.1} s)\n    {error:#}\n{evidence}", case.name);
        }
    }
}

fn conclude(passed: usize, failed: &[&str], skipped: usize, took: Duration) -> ExitCode {
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|name| println!("    {name}"));
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    let (failed, seconds) = (failed.len(), took.as_secs_f64());
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored; 0 measured; 0 filtered out; finished in {seconds:.2}s\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}
