//! Long random runs of S1 to S9: clients that make and end objects, a guest that is watched, and faults, all drawn from one
//! seed; compared in full every so often and at the end.
//!
//! Deliberately not here: exact timing. The seed decides what is tried and what is broken, in which order; how the two meet
//! is up to the machine, so a seed that found a defect is worth running several times.
//!
//! **Invariant**: whatever was acknowledged is there until its end is acknowledged, and nothing else is.

mod ask;
mod cluster;
mod conductor;
mod failpoints;
mod faults;
mod journal;
mod load;
mod look;
mod model;
mod random;
mod stop;
mod tight;
mod verify;
mod witness;

use std::{process::ExitCode, time::Duration};

pub(crate) use cluster::CASES as OF_A_CLUSTER;
pub(crate) use random::Random;

use anyhow::{Context as _, Result};

use crate::{
    harness::{Case, Stage as _},
    world::World,
};

/// Short runs for the gate, each with the time that fits there.
pub(crate) const CASES: &[Case] =
    &[Case { name: "soak::seed_2", run: seed_2 }, Case { name: "soak::seed_3", run: seed_3 }];

/// How long a run in the gate breaks things; preparing and clearing up come on top.
const SHORT: Duration = Duration::from_secs(15);

/// What is soaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Node,
    Cluster,
}

/// What a soak is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    what: What,
    /// How long things are broken.
    time: Duration,
    seed: u64,
}

fn seed_2(world: &World) -> Result<()> {
    conductor::run(world, Plan { what: What::Node, time: SHORT, seed: 2 }, &|_progress| {}).map(drop)
}

fn seed_3(world: &World) -> Result<()> {
    conductor::run(world, Plan { what: What::Node, time: SHORT, seed: 3 }, &|_progress| {}).map(drop)
}

impl Plan {
    /// What `cargo xtask soak` asks for: `ACP_SOAK=<node or cluster>,<seconds>,<seed>`.
    pub(crate) fn asked() -> Option<Self> {
        let text = std::env::var("ACP_SOAK").ok()?;
        let (what, numbers) = text.split_once(',')?;
        let (seconds, seed) = numbers.split_once(',')?;
        let what = if what == "cluster" { What::Cluster } else { What::Node };
        Some(Self { what, time: Duration::from_secs(seconds.parse().ok()?), seed: seed.parse().ok()? })
    }

    /// Soaks a node or a cluster of its own.
    pub(crate) fn run(self) -> ExitCode {
        match self.what {
            What::Node => self.run_node(),
            What::Cluster => cluster::run_alone(self),
        }
    }

    #[expect(clippy::print_stdout, reason = "what a soak says is its result")]
    fn run_node(self) -> ExitCode {
        println!("soak of {} s with seed {}", self.time.as_secs(), self.seed);
        match self.run_on_own_node() {
            Ok(table) => {
                println!("\n{table}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                println!("FAILED: {error:#}\nagain: cargo xtask soak node --seed {}", self.seed);
                ExitCode::from(101)
            }
        }
    }

    #[expect(clippy::print_stdout, reason = "what a soak says is its result")]
    fn run_on_own_node(self) -> Result<String> {
        if let Some(reason) = World::lacks() {
            anyhow::bail!("cannot soak: {reason}");
        }
        let world = World::start()?;
        let result = conductor::run(&world, self, &|progress| println!("{progress}"));
        if result.is_err() {
            println!("{}", world.evidence("soak"));
        }
        let ended = world.end().context("the node leaves something behind");
        result.and_then(|table| ended.map(|()| table))
    }
}
