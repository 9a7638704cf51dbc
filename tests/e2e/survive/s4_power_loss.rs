//! S4: the loss of power.
//!
//! Three looks at one promise: every process of the node is killed at once and the node started again, with and without what
//! the kernel remembered; the system calls before each acknowledgement are traced; a node in a virtual machine whose page
//! cache dies with it is killed under load.

mod everything;
mod left;
mod traced;

use std::time::UNIX_EPOCH;

use acp_dev_testkit::power_loss::{Plan, power_loss};
use anyhow::{Context as _, Result, ensure};

use crate::{harness::Case, world::World};

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "survive::s4_every_acknowledgement_follows_its_synchronisation",
        run: traced::everything_is_synchronised,
    },
    Case { name: "survive::s4_all_processes_die_under_load_and_nothing_is_lost", run: everything::all_die },
    Case { name: "survive::s4_the_host_boots_anew_after_a_loss_of_power", run: everything::the_host_boots_anew },
    Case { name: "survive::s4_machines_lose_power_under_load", run: machines },
];

/// Machines at the same time, one for each of the two processors that the gate has.
const MACHINES: u64 = 2;
/// How often each of them loses its power.
const ROUNDS: u32 = 2;

fn machines(world: &World) -> Result<()> {
    let seed = u64::from(UNIX_EPOCH.elapsed()?.subsec_nanos());
    eprintln!("power loss: seeds {seed} to {}", seed + MACHINES - 1);
    let dir = world.scratch("machines")?;
    let one = |number: u64| -> Result<u64> {
        let plan = Plan { rounds: ROUNDS, seed: seed + number, systems: 0 };
        let summary = power_loss(&dir.join(number.to_string()), &world.bin, &world.image, plan)?;
        Ok(summary.acknowledged)
    };
    let ends: Vec<Result<u64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..MACHINES).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    for end in ends {
        ensure!(end? > 0, "nothing was acknowledged");
    }
    std::fs::remove_dir_all(&dir).context("cannot remove the machines")
}
