//! A node in a virtual machine that loses its power under load, again and again: see [`crate::machine`], [`crate::load`] and
//! [`crate::ledger`].

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    ledger::{Ledger, Line},
    machine::{Machine, Running},
    wait_for,
};

/// How long the machine may take to boot and to say what is there, on an emulated processor beside other load.
const AUDIT_LIMIT: Duration = Duration::from_secs(120);
/// How long the load may take for the acknowledgements of one life.
const LOAD_LIMIT: Duration = Duration::from_secs(60);
/// Acknowledgements before the plug is pulled: at least these, and up to so many more.
const ACKNOWLEDGED: (u64, u64) = (10, 40);

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Writes that were acknowledged in all lives, and found again.
    pub acknowledged: u64,
    /// How long it took.
    pub took: Duration,
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How often the plug is pulled.
    pub rounds: u32,
    /// From which the numbers of acknowledgements follow after which it is pulled.
    pub seed: u64,
    /// Clients that make systems; with none the node has no hypervisor, whose start takes an emulated processor seconds.
    pub systems: u32,
}

/// Pulls the plug again and again, wherever several clients are just then, and boots once more. An error says what was lost or
/// is left, with the seed.
pub fn power_loss(dir: &Path, bin: &Path, demo: &Path, plan: Plan) -> Result<Summary> {
    let Plan { rounds, seed, systems } = plan;
    let started = Instant::now();
    let machine = Machine::build(dir, bin, demo)?;
    let mut ledger = Ledger::default();
    let mut random = seed;
    for life in 0..=rounds {
        let of = || format!("life {life} of {rounds}, seed {seed}");
        let mut running = machine.boot(life, systems)?;
        audit(&mut running, &mut ledger).with_context(of)?;
        if life < rounds {
            let goal = ledger.acknowledged() + ACKNOWLEDGED.0 + next(&mut random) % ACKNOWLEDGED.1;
            wait_acknowledged(&mut running, &mut ledger, goal).with_context(of)?;
        }
        running.kill()?.into_iter().for_each(|line| ledger.note(line));
    }
    Ok(Summary { acknowledged: ledger.acknowledged(), took: started.elapsed() })
}

/// Waits until the machine has said what is there and compares it with what was promised.
fn audit(running: &mut Running, ledger: &mut Ledger) -> Result<()> {
    let mut is_audited = false;
    wait_for("the machine to say what is there", AUDIT_LIMIT, || {
        for line in running.lines().map_err(|error| format!("{error:#}"))? {
            is_audited |= line == Line::Audited || matches!(line, Line::Wrong(_));
            ledger.note(line);
        }
        let state = || format!("its console ends: {}", running.console());
        if is_audited { Ok(()) } else { Err(state()) }
    })?;
    let differences = ledger.settle();
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

fn wait_acknowledged(running: &mut Running, ledger: &mut Ledger, goal: u64) -> Result<()> {
    wait_for(&format!("{goal} acknowledgements"), LOAD_LIMIT, || {
        running.lines().map_err(|error| format!("{error:#}"))?.into_iter().for_each(|line| ledger.note(line));
        let notes: Vec<&str> = ledger.notes().collect();
        if ledger.acknowledged() >= goal {
            Ok(())
        } else {
            Err(format!("{}; {}", ledger.acknowledged(), notes.join("; ")))
        }
    })?;
    if running.has_ended()? { bail!("the machine ended by itself: {}", running.console()) } else { Ok(()) }
}

/// The next number of a seed: splitmix64, which needs no state beside the seed.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
