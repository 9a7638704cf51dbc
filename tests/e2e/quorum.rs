//! The quorum: S1 to S7 are lines of what the control plane of five nodes must survive, as docs/operations/failures.md lists
//! them.
//!
//! **Invariant**: after each case the five are one cluster with the same log, whose chain verifies on every node.

pub(crate) mod five;
mod registers;
mod roles;
mod s1_leader;
mod s2_cuts;
mod s3_joins;
mod s4_disk;
mod s4_lost;
mod s5_clocks;
mod s5_suspended;
mod s6_foreign;
mod s6_restored;
mod s6_stale;
mod s7_power;
mod verdicts;

pub(crate) use five::Five;

use crate::harness::Case;

/// The cases of every line, in order: those that change who the members are come last.
pub(crate) fn all() -> impl Iterator<Item = Case<Five>> {
    let lines = [
        s1_leader::CASES,
        s2_cuts::CASES,
        verdicts::CASES,
        s5_suspended::CASES,
        s5_clocks::CASES,
        s7_power::CASES,
        roles::CASES,
        s3_joins::CASES,
        s4_disk::CASES,
        s4_lost::CASES,
        s6_foreign::CASES,
        s6_stale::CASES,
        s6_restored::CASES,
    ];
    lines.into_iter().flatten().copied()
}
