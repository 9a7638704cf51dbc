//! S1: the leader is killed, frozen, loses its node, and is cut off, under many writers.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{
    five::{FAILOVER_LIMIT, Five, LIMIT, groups, others},
    registers::{OPERATIONS_MIN, Registers, is_long_enough},
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] =
    &[Case { name: "quorum::s1_no_acknowledged_write_is_lost_whatever_becomes_of_the_leader", run: leader_lost }];

/// What becomes of the leader.
#[derive(Clone, Copy, Debug)]
enum Fate {
    HubKilled,
    HubFrozen,
    NodeKilled,
    CutOff,
}

const FATES: [Fate; 4] = [Fate::HubKilled, Fate::HubFrozen, Fate::NodeKilled, Fate::CutOff];

/// How often each, unless [`ROUNDS`] says otherwise.
const ROUNDS_IN_THE_GATE: usize = 1;
/// The setting that says how often.
const ROUNDS: &str = "ACP_QUORUM_ROUNDS";

fn rounds() -> Result<usize> {
    match std::env::var(ROUNDS) {
        Ok(text) => text.parse().with_context(|| format!("{ROUNDS} is {text:?}")),
        Err(_not_set) => Ok(ROUNDS_IN_THE_GATE),
    }
}

fn leader_lost(five: &Five) -> Result<()> {
    let rounds = rounds()?;
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        for round in 0..rounds {
            for fate in FATES {
                registers.wait_acknowledged(LIMIT).context("before anything happened")?;
                let took = meets(five, registers, fate).with_context(|| format!("{fate:?} in round {round}"))?;
                ensure!(took <= FAILOVER_LIMIT, "{fate:?}: the next write was acknowledged after {took:?}");
            }
        }
        registers.wait_operations(OPERATIONS_MIN)
    })?;
    is_long_enough(registers.judge()?)?;
    registers.delete()
}

/// Lets it happen to the leader, waits for the next acknowledged write, and mends it; answers how long writes were out.
fn meets(five: &Five, registers: &Registers<'_>, fate: Fate) -> Result<Duration> {
    let leader = five.leader()?;
    match fate {
        Fate::HubKilled => {
            five.unit(leader, "hub")?.signal(Signal::KILL)?;
            registers.wait_acknowledged(LIMIT)
        }
        Fate::HubFrozen => {
            let hub = five.unit(leader, "hub")?;
            hub.signal(Signal::STOP)?;
            let took = registers.wait_acknowledged(LIMIT);
            // Its watchdog may have been faster.
            if hub.is_alive() {
                hub.signal(Signal::CONT)?;
            }
            took
        }
        Fate::NodeKilled => {
            five.kill(leader)?;
            let took = registers.wait_acknowledged(LIMIT);
            five.start_again(leader)?;
            took
        }
        Fate::CutOff => {
            five.cut(&groups(&[&[leader], &others(&[leader])]))?;
            let took = registers.wait_acknowledged(LIMIT);
            five.heal()?;
            took
        }
    }
}
