//! S7: everything goes off and on again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    five::{Five, LIMIT, NODES},
    registers::Registers,
    s2_cuts::wait_writes,
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] =
    &[Case { name: "quorum::s7_all_off_and_on_again_is_one_cluster_with_everything_acknowledged", run: power }];

/// From the instant at which all daemons are ready until every node writes: five nodes share two processors here.
const ONE_CLUSTER_LIMIT: Duration = Duration::from_secs(10);

fn power(five: &Five) -> Result<()> {
    let registers = Registers::declare(five)?;
    registers.beside(|registers| {
        registers.wait_acknowledged(LIMIT)?;
        {
            let lab = five.lab();
            lab.each(|member| lab.kill(member.name, None))?;
            lab.each(|member| lab.start(member.name))?;
        }
        let started = Instant::now();
        for node in NODES {
            wait_writes(five, node, ONE_CLUSTER_LIMIT)?;
        }
        ensure!(started.elapsed() <= ONE_CLUSTER_LIMIT, "one cluster again after {:?}", started.elapsed());
        registers.wait_acknowledged(LIMIT).map(drop)
    })?;
    registers.judge()?;
    registers.delete()
}
