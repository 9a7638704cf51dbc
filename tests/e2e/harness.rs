//! Runs cases one after the other on one node.
#![expect(clippy::print_stdout, reason = "what a test runner says is its result")]

use std::{
    process::ExitCode,
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

/// Runs what the command line asks for.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
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
    let (passed, failed) = run_on_one_node(&wanted);
    conclude(passed, &failed, 0, started.elapsed())
}

fn run_on_one_node<'a>(wanted: &[&'a Case]) -> (usize, Vec<&'a str>) {
    let world = match World::start() {
        Ok(world) => world,
        Err(error) => {
            println!("the node does not start: {error:#}");
            return (0, wanted.iter().map(|case| case.name).collect());
        }
    };
    let mut passed = 0;
    let mut failed = Vec::new();
    for case in wanted {
        let started = Instant::now();
        let result = (case.run)(&world);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                passed += 1;
                println!("test {} ... ok ({seconds:.1} s)", case.name);
            }
            Err(error) => {
                failed.push(case.name);
                println!(
                    "test {} ... FAILED ({seconds:.1} s)\n    {error:#}\n{}",
                    case.name,
                    world.evidence(case.name)
                );
            }
        }
    }
    if let Err(error) = world.end() {
        failed.push("the node leaves nothing behind");
        println!("test the node leaves nothing behind ... FAILED\n    {error:#}");
    } else {
        passed += 1;
        println!("test the node leaves nothing behind ... ok");
    }
    (passed, failed)
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
