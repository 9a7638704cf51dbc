//! Nodes talk: S1 to S6 are lines of what calls between nodes must survive, as docs/operations/failures.md lists them.

mod bulk;
mod frames;
mod members;
mod peer;
mod s1_agents;
mod s2_refused;
mod s3_floods;
mod s4_compromised;
mod s5_cut;
mod s6_rotation;
mod traffic;
mod view;
mod ways;

use crate::{cluster::Cluster, harness::Case};

/// The cases of every line, in order: those that end daemons or nodes come last.
pub(crate) fn all() -> impl Iterator<Item = Case<Cluster>> {
    let lines = [
        ways::CASES,
        s2_refused::CASES,
        s3_floods::CASES,
        s4_compromised::CASES,
        s5_cut::CASES,
        s6_rotation::CASES,
        s1_agents::CASES,
        members::CASES,
        members::POWER,
    ];
    lines.into_iter().flatten().copied()
}
