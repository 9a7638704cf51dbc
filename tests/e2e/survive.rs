//! One node survives: each module is a line of what it must survive, S1 to S13, as docs/operations/failures.md lists them.

mod outage;
mod s10_hostile;
mod s11_floods;
mod s12_privileges;
mod s13_upgrade;
mod s1_killed;
mod s2_units;
mod s3_frozen;
mod s4_power_loss;
mod s5_faults;
mod s6_disk;
mod s7_twice;
mod s8_many;
mod s9_behind;
mod stopwatch;

use crate::harness::Case;

/// The cases of every line, in order.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let lines = [
        s1_killed::CASES,
        s2_units::CASES,
        s3_frozen::CASES,
        s4_power_loss::CASES,
        s5_faults::CASES,
        s6_disk::CASES,
        s7_twice::CASES,
        s8_many::CASES,
        s9_behind::CASES,
        s10_hostile::CASES,
        s11_floods::CASES,
        s12_privileges::CASES,
        s13_upgrade::CASES,
    ];
    lines.into_iter().flatten().copied()
}
