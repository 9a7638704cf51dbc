//! S4: a voter's disk is full, or holds other bytes than were written: it says so, the others go on, and it votes again when it
//! is mended as it says.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};

use super::{
    five::{FAILOVER_LIMIT, Five, HOST, LIMIT, others},
    registers::Registers,
    s2_cuts::wait_writes,
    s6_stale::copy,
};
use crate::{harness::Case, mount::Mount};

/// The cases of this line.
pub(crate) const CASES: &[Case<Five>] = &[
    Case { name: "quorum::s4_a_leader_without_room_says_so_gives_way_and_comes_back", run: full },
    Case { name: "quorum::s4_a_voter_with_a_damaged_log_says_so_and_is_a_voter_anew_when_mended", run: damaged },
];

/// The size of a voter's disk: more than its log has, and little enough to be filled at once.
const DISK: &str = "48m";
/// How long it may take until a voter whose log was moved away votes again: that it is away counts from 10 s on.
const ANEW_LIMIT: Duration = Duration::from_secs(40);

/// The hub's directory of a node.
fn place(five: &Five, number: usize) -> PathBuf {
    five.member(number).layout.state().join("hub")
}

fn full(five: &Five) -> Result<()> {
    let victim = others(&[five.leader()?, HOST])[0];
    let disk = give_disk(five, victim)?;
    let drilled = without_room(five, victim, &disk);
    let restored = take_disk(five, victim, disk);
    drilled.and(restored)
}

/// Puts the hub's directory on a disk of its own.
fn give_disk(five: &Five, number: usize) -> Result<Mount> {
    let place = place(five, number);
    let aside = place.with_extension("aside");
    five.run(number, &["service", "stop", "hub"])?;
    fs::rename(&place, &aside)?;
    let disk = Mount::small(&place, DISK)?;
    copy(&aside, &place)?;
    fs::remove_dir_all(&aside)?;
    five.run(number, &["service", "start", "hub"])?;
    Ok(disk)
}

/// Puts it back onto the disk of the others.
fn take_disk(five: &Five, number: usize, disk: Mount) -> Result<()> {
    let place = place(five, number);
    let aside = place.with_extension("aside");
    five.run(number, &["service", "stop", "hub"])?;
    copy(&place, &aside)?;
    disk.end()?;
    fs::remove_dir(&place)?;
    fs::rename(&aside, &place)?;
    five.run(number, &["service", "start", "hub"])?;
    wait_votes(five, number, LIMIT)
}

fn without_room(five: &Five, victim: usize, disk: &Mount) -> Result<()> {
    wait_votes(five, victim, LIMIT)?;
    five.hand_over_to(victim)?;
    let daemon = five.unit(victim, "hub")?;
    let registers = Registers::declare(five)?;
    let filler = disk.fill()?;
    registers.beside(|registers| {
        let lacks = format!("there is no room left on the file system of {}", disk.path.display());
        wait_for("the full voter to say so", LIMIT, || {
            let said = five.quorum(victim).map_err(|error| format!("{error:#}"))?.degraded;
            if said.contains(&lacks) { Ok(()) } else { Err(said) }
        })?;
        let took = registers.wait_acknowledged(LIMIT)?;
        ensure!(took <= FAILOVER_LIMIT, "the others went on after {took:?}");
        wait_writes(five, victim, LIMIT).context("through the node whose hub is of no use")?;
        let said = five.acpctl(victim, &["status"])?;
        ensure!(said.stdout.contains("no room left"), "`acpctl status` says {said:?}");
        fs::remove_file(&filler)?;
        wait_votes(five, victim, LIMIT)?;
        ensure!(five.unit(victim, "hub")? == daemon, "the hub was started anew");
        registers.wait_acknowledged(LIMIT).map(drop)
    })?;
    registers.judge()?;
    registers.delete()
}

/// Waits until a node says itself that it votes and that nothing is lacking.
fn wait_votes(five: &Five, number: usize, limit: Duration) -> Result<()> {
    let name = format!("n{number}");
    wait_for(&format!("{name} to vote"), limit, || {
        let quorum = five.quorum(number).map_err(|error| format!("{error:#}"))?;
        let is_well = quorum.degraded.is_empty() && quorum.leader.is_some() && quorum.names().contains(&name.as_str());
        if is_well { Ok(()) } else { Err(format!("{quorum:?}")) }
    })
}

fn damaged(five: &Five) -> Result<()> {
    let victim = others(&[five.leader()?, HOST])[0];
    let (place, registers) = (place(five, victim), Registers::declare(five)?);
    let aside = place.with_extension("damaged");
    wait_writes(five, victim, LIMIT)?;
    registers.beside(|registers| {
        registers.wait_acknowledged(LIMIT)?;
        five.run(victim, &["service", "stop", "hub"])?;
        damage(&place.join("raft.sqlite"), &format!("written through n{victim}"))?;
        let told = tells_damage(five, victim, registers);
        // As it says: "move the directory away and let this node be a voter anew".
        fs::rename(&place, &aside)?;
        five.run(victim, &["service", "start", "hub"])?;
        wait_votes(five, victim, ANEW_LIMIT)?;
        registers.wait_acknowledged(LIMIT)?;
        told
    })?;
    fs::remove_dir_all(&aside)?;
    registers.judge()?;
    registers.delete()
}

/// It does not begin and says why; the others go on, and its node through them.
fn tells_damage(five: &Five, victim: usize, registers: &Registers<'_>) -> Result<()> {
    let said = five.acpctl(victim, &["service", "start", "hub"])?;
    ensure!(said.status != 0, "it began with a damaged log: {said:?}");
    let unit = five.json(victim, &["service", "show", "hub"])?;
    ensure!(unit["status"]["state"] == "failed", "the hub is {}", unit["status"]);
    let log = five.run(victim, &["service", "log", "hub"])?;
    let is_precise = log.contains("raft.sqlite is damaged: entry ") && log.contains("is not what was written");
    ensure!(is_precise, "the hub's log says {log}");
    let took = registers.wait_acknowledged(LIMIT)?;
    ensure!(took <= FAILOVER_LIMIT, "the others went on after {took:?}");
    wait_writes(five, victim, LIMIT).context("through the node without a hub")
}

/// Changes a bit of every copy of a text in a file.
fn damage(path: &Path, text: &str) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let starts: Vec<usize> = (0..bytes.len()).filter(|start| bytes[*start..].starts_with(text.as_bytes())).collect();
    ensure!(!starts.is_empty(), "{text:?} is not in {}", path.display());
    for start in starts {
        bytes[start] ^= 1;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
