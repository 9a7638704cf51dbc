//! S4: a voter loses its disk: another takes its place, and nothing is lost.

use std::{fs, time::Duration};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};

use super::{
    five::{Five, HOST, others},
    registers::Registers,
    s3_joins::come_back,
};
use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] =
    &[Case { name: "quorum::s4_a_voter_without_its_disk_is_replaced_and_nothing_is_lost", run: wiped }];

/// How long replacing a voter may take: it is missed for 10 s first, and the next one catches up.
const REPLACED_LIMIT: Duration = Duration::from_secs(40);

fn wiped(five: &Five) -> Result<()> {
    let registers = Registers::declare(five)?;
    // With it the registers would be taken out: they are n1's.
    five.hand_over_to(1)?;
    five.run(1, &["cluster", "voters", "3"])?;
    let voters = wait_voters(five, 3, None)?;
    let leader = format!("n{}", five.leader()?);
    // The one with the guests' image stays: the cases after this want it.
    let is_victim = |name: &&String| **name != leader && **name != format!("n{HOST}");
    let victim = voters.iter().find(is_victim).context("three voters have two followers")?;
    let number: usize = victim.trim_start_matches('n').parse()?;
    registers.beside(|registers| {
        registers.wait_acknowledged(REPLACED_LIMIT)?;
        five.kill(number)?;
        let state = five.member(number).layout.state();
        fs::remove_dir_all(&state).with_context(|| format!("cannot wipe {}", state.display()))?;
        wait_voters(five, 3, Some(victim))?;
        registers.wait_acknowledged(REPLACED_LIMIT).map(drop)
    })?;
    five.start_again(number)?;
    let other = others(&[number])[0];
    five.run(other, &["--yes", "node", "remove", victim])?;
    five.run(other, &["cluster", "voters", "5"])?;
    come_back(five, number)?;
    registers.judge()?;
    registers.delete()
}

/// Waits until so many nodes vote, and this one is not among them; answers them.
fn wait_voters(five: &Five, count: usize, without: Option<&String>) -> Result<Vec<String>> {
    let found = wait_for(&format!("{count} voters without {without:?}"), REPLACED_LIMIT, || {
        let quorum = five.lab().quorum().map_err(|error| format!("{error:#}"))?;
        let names: Vec<String> = quorum.names().into_iter().map(str::to_owned).collect();
        let is_there = without.is_some_and(|gone| names.contains(gone));
        if names.len() == count && !is_there { Ok(names) } else { Err(format!("{:?}", quorum.voters)) }
    })?;
    ensure!(found.len() == count, "{found:?}");
    Ok(found)
}
