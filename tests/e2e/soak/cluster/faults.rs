//! What is broken: daemons, nodes and the network between them, several things at a time, each for as long as the seed says.
//!
//! **Invariant**: at most two of the five nodes are off or stand still at an instant: the others are a majority, unless the network
//! takes it from them.

use std::time::{Duration, Instant};

use acp_dev_testkit::process::Identity;
use anyhow::{Context as _, Result};
use rustix::process::Signal;

use super::{
    super::{faults::DAEMONS, random::Random},
    Soak,
};
use crate::{
    quorum::five::{NODES, groups, name, others},
    world::units,
};

/// Nodes that are off or stand still at a time, at most.
const AWAY_MAX: usize = 2;
/// How long a daemon stands still that is to go on: shorter than its watchdog.
const FROZEN_UNIT_MS: [u64; 2] = [200, 5_000];
/// How long a node stands still: up to longer than a lease lives.
const FROZEN_NODE_MS: [u64; 2] = [500, 9_000];
/// How long a node is off.
const OFF_MS: [u64; 2] = [100, 6_000];
/// How long the network is disturbed, from the last disturbance on.
const DISTURBED_MS: [u64; 2] = [500, 9_000];
/// How much is lost, in percent.
const LOSS: [u64; 2] = [10, 30];

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KillDaemon,
    KillWorker,
    KillVmm,
    KillFramework,
    FreezeDaemon,
    FreezeNode,
    PowerOff,
    Cut,
    CutOneWay,
    Deafen,
    Loss,
    Silence,
    Transfer,
}

/// How often each is chosen, of the sum of all.
const WEIGHTS: [(u64, Fault); 13] = [
    (24, Fault::KillDaemon),
    (4, Fault::KillWorker),
    (5, Fault::KillVmm),
    (6, Fault::KillFramework),
    (10, Fault::FreezeDaemon),
    (4, Fault::FreezeNode),
    (5, Fault::PowerOff),
    (9, Fault::Cut),
    (7, Fault::CutOneWay),
    (6, Fault::Deafen),
    (9, Fault::Loss),
    (6, Fault::Silence),
    (6, Fault::Transfer),
];

impl Fault {
    const fn called(self) -> &'static str {
        match self {
            Self::KillDaemon => "daemon killed",
            Self::KillWorker => "worker killed",
            Self::KillVmm => "vmm killed",
            Self::KillFramework => "framework killed",
            Self::FreezeDaemon => "daemon frozen",
            Self::FreezeNode => "node frozen",
            Self::PowerOff => "power off",
            Self::Cut => "cut",
            Self::CutOneWay => "cut one way",
            Self::Deafen => "multicast cut",
            Self::Loss => "loss",
            Self::Silence => "silence",
            Self::Transfer => "leader transferred",
        }
    }
}

/// A fault and what it hit; nothing if there was nothing to hit.
pub(super) struct Strike {
    pub(super) kind: &'static str,
    pub(super) hit: Option<String>,
}

/// What is broken at the moment, and until when.
#[derive(Debug, Default)]
pub(super) struct Standing {
    units: Vec<(Instant, Identity)>,
    frozen: Vec<(Instant, usize)>,
    off: Vec<(Instant, usize)>,
    network: Option<Instant>,
}

/// A number from one bound to below the other.
fn between(random: &mut Random, [from, to]: [u64; 2]) -> u64 {
    from + random.below(to - from)
}

fn time(random: &mut Random, bounds: [u64; 2]) -> Duration {
    Duration::from_millis(between(random, bounds))
}

impl Standing {
    /// Draws the next fault and does it.
    pub(super) fn strike(&mut self, soak: &Soak<'_>, random: &mut Random) -> Result<Strike> {
        let fault = random.weighed(&WEIGHTS).context("there are faults")?;
        let at = *random.pick(&NODES).context("there are nodes")?;
        let hit = self.hit(fault, at, soak, random).with_context(|| format!("{fault:?} of n{at}"))?;
        Ok(Strike { kind: fault.called(), hit })
    }

    fn hit(&mut self, fault: Fault, at: usize, soak: &Soak<'_>, random: &mut Random) -> Result<Option<String>> {
        let is_away = self.away().any(|away| away == at);
        match fault {
            Fault::Cut | Fault::CutOneWay | Fault::Deafen | Fault::Loss | Fault::Silence => {
                self.disturb(fault, at, soak, random).map(Some)
            }
            _ if is_away => Ok(None),
            Fault::KillDaemon => Ok(kill(soak, at, random.pick(&DAEMONS).context("there are daemons")?)),
            Fault::KillWorker => Ok(kill_one(soak, at, "storage-worker@", random)),
            Fault::KillVmm => Ok(kill_one(soak, at, "vmm@", random)),
            Fault::KillFramework => Ok(kill_framework(soak, at)),
            Fault::FreezeDaemon => self.freeze_daemon(soak, at, random),
            Fault::FreezeNode | Fault::PowerOff if self.away().count() >= AWAY_MAX => Ok(None),
            Fault::FreezeNode => {
                let for_so_long = time(random, FROZEN_NODE_MS);
                soak.five.lab().freeze(name(at)?, true)?;
                self.frozen.push((Instant::now() + for_so_long, at));
                Ok(Some(format!("n{at} for {for_so_long:?}")))
            }
            Fault::PowerOff => {
                let for_so_long = time(random, OFF_MS);
                soak.excuse(at);
                soak.five.kill(at)?;
                self.off.push((Instant::now() + for_so_long, at));
                Ok(Some(format!("n{at} for {for_so_long:?}")))
            }
            Fault::Transfer => {
                let to = *random.pick(&NODES).context("there are nodes")?;
                let said = soak.five.acpctl(at, &["--timeout", "5s", "hub", "transfer", &format!("n{to}")])?;
                Ok((said.status == 0).then(|| format!("to n{to} through n{at}")))
            }
        }
    }

    fn away(&self) -> impl Iterator<Item = usize> {
        self.frozen.iter().chain(&self.off).map(|(_, number)| *number)
    }

    fn disturb(&mut self, fault: Fault, at: usize, soak: &Soak<'_>, random: &mut Random) -> Result<String> {
        let rest = others(&[at]);
        let second = *random.pick(&rest).context("there are others")?;
        let group = if random.below(2) == 0 { vec![at] } else { vec![at, second] };
        let (own, other) = (groups(&[&group]), groups(&[&others(&group)]));
        let mut lab = soak.five.lab();
        let said = match fault {
            Fault::Cut => {
                lab.cut(&format!("{own}|{other}"))?;
                format!("{own}|{other}")
            }
            Fault::CutOneWay => {
                let (from, to) = if random.below(2) == 0 { (own, other) } else { (other, own) };
                lab.cut(&format!("{from}>{to}"))?;
                format!("{from}>{to}")
            }
            Fault::Deafen => {
                lab.deafen(&format!("{own}>{other}"))?;
                format!("{own}>{other}")
            }
            Fault::Loss => {
                let share = between(random, LOSS);
                group.iter().try_for_each(|number| lab.lose(name(*number)?, format!("{share}%").parse()?))?;
                format!("{share} % of {own}")
            }
            _ => {
                lab.silence(name(at)?)?;
                format!("n{at}")
            }
        };
        let for_so_long = time(random, DISTURBED_MS);
        self.network = Some(Instant::now() + for_so_long);
        Ok(format!("{said} for {for_so_long:?}"))
    }

    fn freeze_daemon(&mut self, soak: &Soak<'_>, at: usize, random: &mut Random) -> Result<Option<String>> {
        let unit = random.pick(&DAEMONS).context("there are daemons")?;
        let for_so_long = time(random, FROZEN_UNIT_MS);
        let Ok(process) = soak.five.unit(at, unit) else { return Ok(None) };
        process.signal(Signal::STOP)?;
        self.units.push((Instant::now() + for_so_long, process));
        Ok(Some(format!("{unit} of n{at} for {for_so_long:?}")))
    }

    /// Ends what has lasted for long enough.
    pub(super) fn end_due(&mut self, soak: &Soak<'_>) -> Result<()> {
        self.end_until(soak, Instant::now())
    }

    /// Ends everything.
    pub(super) fn end_all(&mut self, soak: &Soak<'_>) -> Result<()> {
        let far = Instant::now() + Duration::from_millis(FROZEN_NODE_MS[1].max(OFF_MS[1]).max(DISTURBED_MS[1]));
        self.end_until(soak, far)
    }

    fn end_until(&mut self, soak: &Soak<'_>, at: Instant) -> Result<()> {
        let journal = &soak.shared.journal;
        if self.network.take_if(|until| *until <= at).is_some() {
            soak.five.heal()?;
            journal.note("the network is healed");
        }
        for (_, process) in self.units.extract_if(.., |(until, _)| *until <= at) {
            process.signal(Signal::CONT)?;
        }
        for (_, number) in self.frozen.extract_if(.., |(until, _)| *until <= at) {
            soak.five.lab().freeze(name(number)?, false)?;
            journal.note(&format!("n{number} goes on"));
        }
        for (_, number) in self.off.extract_if(.., |(until, _)| *until <= at) {
            soak.five.start_again(number)?;
            journal.note(&format!("n{number} is on"));
        }
        Ok(())
    }
}

/// Kills a unit's process; nothing is hit where the last fault has left nobody to ask.
fn kill(soak: &Soak<'_>, at: usize, unit: &str) -> Option<String> {
    let process = soak.five.unit(at, unit).ok()?;
    process.signal(Signal::KILL).ok().map(|()| format!("{unit} of n{at}"))
}

/// Kills one of the units whose names begin like this.
fn kill_one(soak: &Soak<'_>, at: usize, prefix: &str, random: &mut Random) -> Option<String> {
    let units = units(&soak.five.member(at).layout).ok()?;
    let names = units.iter().filter_map(|unit| unit["name"].as_str()).filter(|name| name.starts_with(prefix));
    let names: Vec<&str> = names.collect();
    kill(soak, at, random.pick(&names)?)
}

fn kill_framework(soak: &Soak<'_>, at: usize) -> Option<String> {
    let health = soak.five.call(at, "framework", "acp.daemon.GetHealth", serde_json::json!({})).ok()?;
    let process = Identity::of(i32::try_from(health["pid"].as_i64()?).ok()?)?;
    process.signal(Signal::KILL).ok().map(|()| format!("n{at}"))
}
