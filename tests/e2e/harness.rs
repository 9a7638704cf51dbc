//! Runs cases on two nodes and in labs, two of them at a time, in each one after the other.
#![expect(clippy::print_stdout, reason = "what a test runner says is its result")]

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{cluster::Cluster, domain::Routed, quorum::Five, world::World};

/// What cases run in, started for the first of them and taken down after the last.
pub(crate) trait Stage: Sized {
    /// What it is called.
    const NAME: &'static str;
    /// The sentence that holds once it was taken down.
    const LEAVES_NOTHING: &'static str;
    /// Whether another one is started after a case that failed: what it has left would fail the next ones, too.
    const IS_REPLACED: bool;

    /// Makes it ready for the first case.
    fn start() -> Result<Self>;

    /// Gets it ready for the next case, whatever the one before has come to.
    fn before(&self) -> Result<()> {
        Ok(())
    }

    /// Takes it down and verifies that nothing is left.
    fn end(self) -> Result<()>;

    /// Keeps what a failed case needs to be looked into, and answers the most of it.
    fn evidence(&self, case: &str) -> String;
}

/// A case: its name is a sentence.
pub(crate) struct Case<S = World> {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&S) -> Result<()>,
}

impl<S> Clone for Case<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Case<S> {}

/// Every case there is.
pub(crate) struct Cases {
    /// Those of one node.
    pub(crate) node: Vec<Case>,
    /// Those of a cluster of three, in a lab of their own.
    pub(crate) cluster: Vec<Case<Cluster>>,
    /// Those of a cluster of five, in a lab of their own.
    pub(crate) quorum: Vec<Case<Five>>,
    /// Those of five nodes in two domains, in a lab of their own.
    pub(crate) domains: Vec<Case<Routed>>,
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

impl Cases {
    fn retain(&mut self, wishes: &Wishes) {
        self.node.retain(|case| wishes.wants(case.name));
        self.cluster.retain(|case| wishes.wants(case.name));
        self.quorum.retain(|case| wishes.wants(case.name));
        self.domains.retain(|case| wishes.wants(case.name));
    }

    fn names(&self) -> Vec<&'static str> {
        let labs = self.cluster.iter().map(|case| case.name).chain(self.quorum.iter().map(|case| case.name));
        let labs = labs.chain(self.domains.iter().map(|case| case.name));
        self.node.iter().map(|case| case.name).chain(labs).collect()
    }
}

/// Runs what the command line asks for; `place` says where a case of a name runs.
pub(crate) fn run(cases: Cases, place: fn(&str) -> Place) -> ExitCode {
    let wishes = Wishes::parse(std::env::args().skip(1));
    let mut wanted = cases;
    wanted.retain(&wishes);
    let names = wanted.names();
    if wishes.list {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} end-to-end tests", names.len());
    if names.is_empty() {
        return conclude(0, &[], 0, Duration::ZERO);
    }
    if let Some(reason) = World::lacks() {
        println!("SKIPPED, all of them: {reason}");
        let strict = std::env::var_os("ACP_E2E_STRICT").is_some();
        let failed: &[&str] = if strict { &names } else { &[] };
        return conclude(0, failed, names.len() - failed.len(), Duration::ZERO);
    }
    let started = Instant::now();
    let tally = run_all(&wanted, place);
    tally.flaky.iter().for_each(|name| println!("FLAKY, held at the second look: {name}"));
    conclude(tally.passed, &tally.failed, 0, started.elapsed())
}

fn run_all(wanted: &Cases, place_of: fn(&str) -> Place) -> Tally {
    let at = |place| wanted.node.iter().filter(|case| place_of(case.name) == place).collect::<Vec<&Case>>();
    let (first, beside) = (at(Place::First), at(Place::Beside));
    let lane = Lane::<World>::default().run(&at(Place::Alone));
    // Two at a time: each node's cases, then labs, each taken down before the next one stands: memory is not without
    // end.
    let (kept, lost) = quorum(wanted);
    let cluster: Vec<&Case<Cluster>> = wanted.cluster.iter().collect();
    let domains: Vec<&Case<Routed>> = wanted.domains.iter().collect();
    let ((first, mut tally), (beside, other)) = thread::scope(|scope| {
        let second = scope.spawn(|| {
            let nodes = Lane::<World>::default().run(&beside);
            let mut tally = Lane::default().run(&cluster).end();
            tally.add(Lane::default().run(&domains).end());
            tally.add(Lane::default().run(&lost).end());
            (nodes, tally)
        });
        let first = (lane.run(&first), Lane::default().run(&kept).end());
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    tally.add(other);
    let first = first.run(&at(Place::Last));
    // Only now, because nodes share the machine's devices.
    tally.add(first.end());
    tally.add(beside.end());
    look_again(wanted, tally)
}

/// The cases of five nodes, and those among them that lose a disk or an epoch: these begin with five nodes that nobody has taken
/// apart and put together before.
fn quorum(wanted: &Cases) -> (Vec<&Case<Five>>, Vec<&Case<Five>>) {
    let keeps = |case: &&Case<Five>| !["quorum::s4", "quorum::s6"].iter().any(|line| case.name.starts_with(line));
    wanted.quorum.iter().partition(keeps)
}

/// As many failures may be the machine's; more are the product's.
const LOOKS_AGAIN_MAX: usize = 3;

/// Gives what failed a second chance, on a node and in a lab of its own and with the machine to itself: a promise against the
/// clock can fail because the machine stood still. What holds then is named as flaky. A soak gets none: what it finds once is
/// there.
fn look_again(wanted: &Cases, mut tally: Tally) -> Tally {
    let names: Vec<&'static str> = wanted.names().into_iter().filter(|name| tally.failed.contains(name)).collect();
    let is_final = |name: &&str| name.starts_with("soak::");
    if names.is_empty()
        || names.len() < tally.failed.len()
        || names.len() > LOOKS_AGAIN_MAX
        || names.iter().any(is_final)
    {
        return tally;
    }
    println!("\na second look at {}", names.join(", "));
    let node: Vec<&Case> = wanted.node.iter().filter(|case| names.contains(&case.name)).collect();
    let cluster: Vec<&Case<Cluster>> = wanted.cluster.iter().filter(|case| names.contains(&case.name)).collect();
    let quorum: Vec<&Case<Five>> = wanted.quorum.iter().filter(|case| names.contains(&case.name)).collect();
    let domains: Vec<&Case<Routed>> = wanted.domains.iter().filter(|case| names.contains(&case.name)).collect();
    let mut again = Lane::default().run(&node).end();
    again.add(Lane::default().run(&cluster).end());
    again.add(Lane::default().run(&quorum).end());
    again.add(Lane::default().run(&domains).end());
    tally.flaky = names.into_iter().filter(|name| !again.failed.contains(name)).collect();
    tally.passed += tally.flaky.len();
    tally.failed = again.failed;
    tally
}

/// What has come of some cases.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<&'static str>,
    /// What failed and then held.
    flaky: Vec<&'static str>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.flaky.extend(other.flaky);
    }
}

/// What cases run in, started when the first of them runs, and what has come of them.
struct Lane<S> {
    stage: Option<S>,
    tally: Tally,
}

impl<S> Default for Lane<S> {
    fn default() -> Self {
        Self { stage: None, tally: Tally::default() }
    }
}

impl<S: Stage> Lane<S> {
    fn run(mut self, cases: &[&Case<S>]) -> Self {
        for (at, case) in cases.iter().enumerate() {
            if !self.is_there() {
                self.tally.failed.extend(cases[at..].iter().map(|case| case.name));
                return self;
            }
            let Some(stage) = &self.stage else { continue };
            let holds = run_one(case, stage, &mut self.tally);
            // More failures than these are the product's, and take their time.
            if !holds && S::IS_REPLACED && self.tally.failed.len() <= LOOKS_AGAIN_MAX {
                self.give_up();
            }
        }
        self
    }

    /// Starts it for the first case, or for the next one after a failure.
    fn is_there(&mut self) -> bool {
        if self.stage.is_none() {
            match S::start() {
                Ok(stage) => self.stage = Some(stage),
                Err(error) => println!("{} does not start: {error:#}", S::NAME),
            }
        }
        self.stage.is_some()
    }

    /// Takes down what a case has failed in. What is left then is the failure's, and no second one.
    fn give_up(&mut self) {
        if let Some(Err(error)) = self.stage.take().map(S::end) {
            println!("{} was taken down after a failure: {error:#}", S::NAME);
        }
    }

    /// Takes it down, which has to leave nothing behind.
    fn end(mut self) -> Tally {
        match self.stage.map(S::end) {
            None => {}
            Some(Ok(())) => {
                self.tally.passed += 1;
                println!("test {} ... ok", S::LEAVES_NOTHING);
            }
            Some(Err(error)) => {
                self.tally.failed.push(S::LEAVES_NOTHING);
                println!("test {} ... FAILED\n    {error:#}", S::LEAVES_NOTHING);
            }
        }
        self.tally
    }
}

/// Whether the case holds.
fn run_one<S: Stage>(case: &Case<S>, stage: &S, tally: &mut Tally) -> bool {
    let started = Instant::now();
    let result = stage.before().and_then(|()| (case.run)(stage));
    let seconds = started.elapsed().as_secs_f64();
    match &result {
        Ok(()) => {
            tally.passed += 1;
            println!("test {} ... ok ({seconds:.1} s)", case.name);
        }
        Err(error) => {
            tally.failed.push(case.name);
            let evidence = stage.evidence(case.name);
            println!("test {} ... FAILED ({seconds:.1} s)\n    {error:#}\n{evidence}", case.name);
        }
    }
    result.is_ok()
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
