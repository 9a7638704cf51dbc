//! Long random runs of a cluster of five: clients that make and end objects of nodes and specs through any node, guests that
//! run on, and faults of daemons, nodes and the network, all drawn from one seed; compared in full every so often and at the end.
//!
//! Deliberately not here: exact timing, as in the soak of one node.
//!
//! **Invariants**: whatever was acknowledged is there until its end is acknowledged, and nothing else is; no guest ends that
//! nothing ended, and none runs twice at any instant; at each pause all nodes say the same.

mod faults;
mod guests;
mod replicas;
mod sites;
mod specs;

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{node, wait_for};
use anyhow::{Context as _, Result, bail};

use self::{
    faults::{Standing, Strike},
    guests::Guests,
    sites::Sites,
    specs::Specs,
};
use super::{
    Plan, What,
    load::{self, Door, Shared},
    look,
    model::{Kind, Model},
    random::Random,
    verify,
};
use crate::{
    harness::{Case, Stage as _},
    quorum::{Five, five::NODES},
    world::World,
};

/// A short run for the gate.
pub(crate) const CASES: &[Case<Five>] = &[Case { name: "soak::cluster_seed_1", run: seed_1 }];

/// How long a run in the gate breaks things; preparing, comparing and clearing up come on top.
const SHORT: Duration = Duration::from_secs(20);
/// Faults between two full comparisons.
const FAULTS_PER_LOOK: u64 = 20;
/// How long the cluster may take until everything agrees once nothing is broken any more and nobody changes anything.
const AGREE_LIMIT: Duration = Duration::from_secs(90);
/// The longest pause between two faults, in milliseconds.
const BETWEEN_MS_MAX: u64 = 2_500;
/// How often progress is printed.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// Streams of decisions: the conductor's, then those of clients, then those of who writes specs.
const CONDUCTOR: u64 = 0;
const SPECS_FROM: u64 = 100;

fn seed_1(five: &Five) -> Result<()> {
    run(five, Plan { what: What::Cluster, time: SHORT, seed: 1 }, &Sites::few(), &|_line| {}).map(drop)
}

/// Soaks a cluster of its own.
#[expect(clippy::print_stdout, reason = "what a soak says is its result")]
pub(super) fn run_alone(plan: Plan) -> ExitCode {
    println!("soak of a cluster of five, {} s with seed {}", plan.time.as_secs(), plan.seed);
    match run_on_own_cluster(plan) {
        Ok(table) => {
            println!("\n{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("FAILED: {error:#}\nagain: cargo xtask soak cluster --seed {}", plan.seed);
            ExitCode::from(101)
        }
    }
}

#[expect(clippy::print_stdout, reason = "what a soak says is its result")]
fn run_on_own_cluster(plan: Plan) -> Result<String> {
    if let Some(reason) = World::lacks() {
        bail!("cannot soak: {reason}");
    }
    let five = Five::start()?;
    let result = run(&five, plan, &Sites::all(), &|line| println!("{line}"));
    if result.is_err() {
        println!("{}", five.evidence("soak::cluster"));
    }
    let ended = five.end().context("the lab leaves something behind");
    result.and_then(|table| ended.map(|()| table))
}

/// Everything that is at work.
struct Soak<'a> {
    five: &'a Five,
    sites: &'a Sites,
    shared: Shared,
    guests: Guests,
    specs: Specs,
    /// Systems of clients whose guest a fault has ended since everything was last compared.
    hurt: Mutex<BTreeSet<String>>,
    /// The longest comparison, and how many there were.
    agreed: Mutex<(Duration, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Soaks and answers the closing table; a failure says what did not hold, and the last events.
fn run(five: &Five, plan: Plan, sites: &Sites, say: &dyn Fn(&str)) -> Result<String> {
    let soak = Soak::prepare(five, sites)?;
    let result = soak.conduct(plan, say);
    let result = match (result, soak.shared.journal.defects()) {
        (result, None) => result,
        (Ok(()), Some(defects)) => Err(anyhow::anyhow!("{defects}")),
        (Err(error), Some(defects)) => Err(error.context(defects)),
    };
    match result.and_then(|()| soak.end()) {
        Ok(()) => Ok(soak.summary(plan)),
        Err(error) => bail!("seed {}: {error:#}\n    last events:{}", plan.seed, soak.shared.journal.time_line()),
    }
}

impl<'a> Soak<'a> {
    fn prepare(five: &'a Five, sites: &'a Sites) -> Result<Self> {
        let disk = sites.equip(five)?;
        let model = |client: usize| Model { is_starting: client == 0, rest: specs::REST, ..Model::new(client, None) };
        let soak = Self {
            five,
            sites,
            shared: Shared::new(disk, (0..sites.clients.len()).map(model)),
            guests: Guests::start(five, &sites.guests)?,
            specs: Specs::declare(five)?,
            hurt: Mutex::default(),
            agreed: Mutex::default(),
        };
        soak.agree().context("before the first fault")?;
        Ok(soak)
    }

    /// A node is about to lose its power: what runs there ends.
    fn excuse(&self, number: usize) {
        self.guests.excuse(number);
        let at_home = self.sites.clients.iter().enumerate().filter(|(_, home)| **home == number);
        for (client, _home) in at_home {
            let names = Model::new(client, None).items.into_iter().filter(|item| item.kind == Kind::System);
            lock(&self.hurt).extend(names.map(|item| item.name));
        }
    }

    fn conduct(&self, plan: Plan, say: &dyn Fn(&str)) -> Result<()> {
        let entries: Vec<_> = NODES.map(|number| self.five.member(number).layout.clone()).to_vec();
        thread::scope(|scope| {
            for (client, home) in self.sites.clients.iter().enumerate() {
                let random = Random::stream(plan.seed, u64::try_from(client).unwrap_or_default() + 1);
                let door = Door::any(&self.five.member(*home).layout, format!("n{home}"), entries.clone());
                scope.spawn(move || load::work(&door, &self.shared, client, random));
            }
            for client in 0..specs::CLIENTS {
                let random = Random::stream(plan.seed, SPECS_FROM + u64::try_from(client).unwrap_or_default());
                scope.spawn(move || self.specs.work(self.five, &self.shared, client, random));
            }
            scope.spawn(|| self.guests.watch(&self.shared.journal, &self.shared.stop));
            let mut standing = Standing::default();
            let result = self.break_things(plan, &mut standing, say);
            self.shared.stop.end();
            // Clients end their last operations only where somebody answers.
            result.and(standing.end_all(self))
        })
    }

    fn break_things(&self, plan: Plan, standing: &mut Standing, say: &dyn Fn(&str)) -> Result<()> {
        let mut random = Random::stream(plan.seed, CONDUCTOR);
        let journal = &self.shared.journal;
        let began = Instant::now();
        let (mut said, mut looked) = (began, 0);
        while began.elapsed() < plan.time {
            standing.end_due(self)?;
            self.strike(standing, &mut random, say)?;
            if let Some(defects) = journal.defects() {
                bail!("{defects}");
            }
            if journal.faults() >= looked + FAULTS_PER_LOOK {
                looked = journal.faults();
                standing.end_all(self)?;
                self.agree()?;
            }
            if said.elapsed() >= PROGRESS_EVERY {
                said = Instant::now();
                say(&self.progress());
            }
            self.shared.stop.wait_for_end(Duration::from_millis(random.below(BETWEEN_MS_MAX)));
        }
        standing.end_all(self)?;
        self.agree()
    }

    fn strike(&self, standing: &mut Standing, random: &mut Random, say: &dyn Fn(&str)) -> Result<()> {
        let journal = &self.shared.journal;
        let Strike { kind, hit } = standing.strike(self, random)?;
        if let Some(hit) = hit {
            journal.fault(kind, Duration::ZERO);
            journal.note(&format!("fault {kind}: {hit}"));
            say(&format!("{:8.2} s  fault {:>3}  {kind}: {hit}", journal.elapsed().as_secs_f64(), journal.faults()));
        }
        Ok(())
    }

    /// Has everybody pause, waits until all agree, and takes in what was unclear. Nothing is broken any more.
    fn agree(&self) -> Result<()> {
        let began = Instant::now();
        for number in NODES {
            node::wait_ready(&self.five.member(number).layout).with_context(|| format!("n{number}"))?;
        }
        let pause = self.shared.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut models: Vec<MutexGuard<'_, Model>> = self.shared.models.iter().map(lock).collect();
        let hurt = lock(&self.hurt).clone();
        self.five.wait_agreed()?;
        wait_for("everything to agree", AGREE_LIMIT, || {
            let found = self.differences(&models, &hurt).map_err(|error| format!("{error:#}"))?;
            if found.is_empty() { Ok(()) } else { Err(found.join("\n    ")) }
        })?;
        for (client, home) in self.sites.clients.iter().enumerate() {
            let objects = look::objects(&self.five.member(*home).layout)?;
            verify::learn(&objects, std::iter::once(&mut *models[client]));
        }
        self.specs.learn(self.five)?;
        lock(&self.hurt).clear();
        let took = began.elapsed();
        let mut agreed = lock(&self.agreed);
        *agreed = (agreed.0.max(took), agreed.1 + 1);
        self.shared.journal.note(&format!("everything agrees ({:.2} s)", took.as_secs_f64()));
        drop((agreed, pause));
        Ok(())
    }

    /// What does not agree: of guests, of what was acknowledged, and what nodes say.
    fn differences(&self, models: &[MutexGuard<'_, Model>], hurt: &BTreeSet<String>) -> Result<Vec<String>> {
        let mut found = self.guests.differences(self.five)?;
        found.extend(self.specs.differences(self.five)?);
        found.extend(self.contradictions(models, hurt)?);
        Ok(found)
    }

    /// What nodes say otherwise than another one, or than what is there.
    fn contradictions(&self, models: &[MutexGuard<'_, Model>], hurt: &BTreeSet<String>) -> Result<Vec<String>> {
        let mut found = replicas::differences(self.five)?;
        for number in NODES {
            let layout = &self.five.member(number).layout;
            let homes = self.sites.clients.iter().zip(models).filter(|(home, _)| **home == number);
            let own = homes.map(|(_, model)| &**model);
            let objects = sites::at_home(look::objects(layout)?, number);
            let wrong = verify::differences(layout, objects, own, hurt).with_context(|| format!("n{number}"))?;
            found.extend(wrong.into_iter().map(|what| format!("n{number}: {what}")));
        }
        Ok(found)
    }

    fn progress(&self) -> String {
        let journal = &self.shared.journal;
        let (longest, comparisons) = *lock(&self.agreed);
        format!(
            "{:>5.0} s: {} faults, {} operations, {comparisons} times all agreed, at most {:.1} s after the faults ended, {}",
            journal.elapsed().as_secs_f64(),
            journal.faults(),
            journal.operations(),
            longest.as_secs_f64(),
            self.guests.seen(),
        )
    }

    /// Nobody asks for anything any more: waits until what may still come to pass has, and takes it in.
    fn settle(&self) -> Result<()> {
        let is_unclear = |model: &Mutex<Model>| {
            let model = lock(model);
            model.items.iter().any(|item| model.is_resting(item))
        };
        if self.shared.models.iter().any(is_unclear) {
            thread::park_timeout(specs::REST);
        }
        for (model, home) in self.shared.models.iter().zip(&self.sites.clients) {
            let objects = look::objects(&self.five.member(*home).layout)?;
            verify::learn(&objects, std::iter::once(&mut *lock(model)));
        }
        Ok(())
    }

    /// Deletes everything; nothing may be left.
    fn end(&self) -> Result<()> {
        self.settle()?;
        for (client, model) in self.shared.models.iter().enumerate() {
            load::delete_all(&self.five.member(self.sites.clients[client]).layout, &mut lock(model))?;
        }
        self.specs.delete(self.five)?;
        self.guests.end(self.five)?;
        wait_for("nothing to be left", AGREE_LIMIT, || {
            let mut left = self.contradictions(&[], &BTreeSet::new()).map_err(|error| format!("{error:#}"))?;
            for number in NODES {
                let found = verify::leftovers(&self.five.member(number).layout);
                left.extend(found.map_err(|error| format!("{error:#}"))?);
            }
            if left.is_empty() { Ok(()) } else { Err(left.join("\n    ")) }
        })?;
        self.sites.strip(self.five)?;
        self.five.wait_agreed()
    }

    fn summary(&self, plan: Plan) -> String {
        format!(
            "{}\nseed {}: {}: nothing lost, nothing twice, nothing left",
            self.shared.journal.tables(),
            plan.seed,
            self.progress().trim_start(),
        )
    }
}
