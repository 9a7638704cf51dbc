//! S5: an error and a kill at every step of every operation. Afterwards the node is as if the operation had never been, or
//! as it is after a clean success; the operation can be repeated, and everything can be deleted.
#![expect(clippy::print_stdout, reason = "a grid says how many faults it tried")]

mod arm;
mod grid;
mod inventory;
mod operations;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    time::Instant,
};

use acp_dev_testkit::node;
use anyhow::{Context as _, Result, ensure};

use crate::{harness::Case, world::World};

use self::{
    arm::{Failpoints, Mode},
    grid::Fault,
};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s5_a_fault_at_every_step_leaves_nothing", run: every_point_once }];

/// The environment variable with the number that decides which faults the gate chooses.
const SEED: &str = "ACP_SEED";

/// The environment variable that has other faults tried than those of the gate: `all` of them, those of an operation
/// (`create a system`), or those of a point or a daemon in an operation (`create a system/hypervisor`).
const FAULTS: &str = "ACP_FAULTS";

/// One in so many of the points that an earlier operation has passed already is tried in a later one, too.
const REPEATED_EVERY: u64 = 3;

/// Every point, with one of the two faults at one of its passings: so chosen by the seed that the next seed takes the other
/// fault. Points that several operations pass are tried in the first and, as the seed says, in a third of the others.
fn every_point_once(world: &World) -> Result<()> {
    if let Ok(wanted) = std::env::var(FAULTS) {
        let (operation, point) = wanted.split_once('/').unwrap_or((&wanted, ""));
        let is_named = |fault: &Fault<'_>| fault.point.contains(point);
        return every_fault(world, &|name| wanted == "all" || name == operation, &is_named);
    }
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED} is a number, not {text:?}"))?,
        Err(_unset) => RandomState::new().hash_one(0),
    };
    let tried = RefCell::new(BTreeSet::new());
    let is_wanted = |fault: &Fault<'_>| {
        let index = u64::try_from(fault.index).unwrap_or(u64::MAX);
        let is_due = (seed / 4).wrapping_add(index).is_multiple_of(REPEATED_EVERY);
        is_chosen(fault, seed) && (tried.borrow_mut().insert(fault.point.to_owned()) || is_due)
    };
    every_fault(world, &|_operation| true, &is_wanted).with_context(|| format!("{SEED}={seed}"))
}

fn is_chosen(fault: &Fault<'_>, seed: u64) -> bool {
    let index = u64::try_from(fault.index).unwrap_or(u64::MAX);
    let mode = if index.wrapping_add(seed).is_multiple_of(2) { Mode::Error } else { Mode::Kill };
    let passes = u64::try_from(fault.passes).unwrap_or(1).max(1);
    let pass = 1 + (seed / 2).wrapping_add(index) % passes;
    fault.mode == mode && u64::try_from(fault.pass) == Ok(pass)
}

/// Breaks the operations that are wanted at every fault that is wanted, and fails with all that went wrong. The full grid
/// takes many minutes.
pub(crate) fn every_fault(
    world: &World,
    is_operation: &dyn Fn(&str) -> bool,
    is_wanted: &dyn Fn(&Fault<'_>) -> bool,
) -> Result<()> {
    let file = operations::file(world)?;
    world.node.run(&["image", "import", operations::IMAGE, &file, "--wait"])?;
    // What all systems share is made with the first.
    grid::all(world, operations::FIRST_LIFE, &file)?;
    let points = Failpoints::open(world)?;
    let (mut acted, mut wrong) = (0, Vec::new());
    for operation in operations::ALL.iter().filter(|operation| is_operation(operation.name)) {
        let started = Instant::now();
        let (count, found) = grid::run(world, &points, operation, is_wanted)
            .unwrap_or_else(|error| (0, vec![format!("{}: {error:#}", operation.name)]));
        let seconds = started.elapsed().as_secs_f64();
        println!("    {}: {count} faults acted, {} left something ({seconds:.1} s)", operation.name, found.len());
        found.iter().for_each(|what| println!("        {what}"));
        acted += count;
        wrong.extend(found);
    }
    drop(points);
    world.node.run(&["--yes", "image", "delete", operations::IMAGE])?;
    operations::remove_file(world)?;
    node::wait_ready(world.node.layout())?;
    ensure!(wrong.is_empty(), "{} of {acted} faults:\n    {}", wrong.len(), wrong.join("\n    "));
    ensure!(acted > 0, "no fault was wanted");
    Ok(())
}
