//! Guests that are meant to run all the time, and are looked at from outside: their processes.

use std::{
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use acp_dev_testkit::{
    objects,
    process::{self, Identity},
};
use anyhow::{Context as _, Result};

use super::super::{journal::Journal, stop::Stop};
use crate::quorum::{Five, five::NODES};

/// How often processes are looked at: far shorter than a guest's start.
const INTERVAL: Duration = Duration::from_millis(200);
/// How the name of QEMU's program begins, as the kernel cuts it.
const QEMU: &str = "qemu-system";

/// One guest.
#[derive(Debug)]
struct Guest {
    name: String,
    home: usize,
    is_floating: bool,
    /// As in the names of its units.
    instance: String,
    /// The process that it must be; nothing while it may be away or another one.
    process: Mutex<Option<Identity>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Guests {
    guests: Vec<Guest>,
    looks: AtomicU64,
    /// How often one that floats was ended, as leases demand.
    ended: AtomicU64,
}

impl Guest {
    fn start(five: &Five, number: usize, (home, is_floating): (usize, bool)) -> Result<Self> {
        let kind = if is_floating { "floating" } else { "pinned" };
        let name = format!("guest-{number}-{kind}");
        let floating: &[&str] = if is_floating { &["--floating"] } else { &[] };
        let create = ["system", "create", &name, "--image", "demo", "--memory", "64MiB", "--wait"];
        five.run(home, &[&create[..], floating].concat())?;
        five.run(home, &["system", "start", &name, "--wait"])?;
        let shown = objects::find(&five.member(home).layout, "system", &name)?.context("the guest is declared")?;
        let instance = shown["uid"].as_str().context("a system has a uid")?.replace('-', "");
        let process = Mutex::new(Some(five.unit(home, &format!("qemu@{instance}"))?));
        Ok(Self { name, home, is_floating, instance, process })
    }

    fn process(&self) -> MutexGuard<'_, Option<Identity>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether it runs as it must; answers what is wrong.
    fn look(&self, running: &[(Identity, String)], ended: &AtomicU64) -> Option<String> {
        let unit = format!("qemu@{}", self.instance);
        let own: Vec<Identity> = running
            .iter()
            .filter(|(one, groups)| groups.contains(&unit) && one.is_alive())
            .map(|(one, _)| *one)
            .collect();
        if own.len() > 1 {
            return Some(format!("{} runs {} times: {own:?}", self.name, own.len()));
        }
        let mut process = self.process();
        let gone = process.filter(|process| !process.is_alive())?;
        if self.is_floating {
            ended.fetch_add(1, Ordering::Relaxed);
            *process = None;
            return None;
        }
        Some(format!("{} on n{} has ended, and nothing ended it: {gone:?}", self.name, self.home))
    }
}

impl Guests {
    /// Makes and starts them, each on its node.
    pub(super) fn start(five: &Five, sites: &[(usize, bool)]) -> Result<Self> {
        let guests = sites.iter().enumerate().map(|(number, site)| Guest::start(five, number, *site));
        Ok(Self { guests: guests.collect::<Result<_>>()?, looks: AtomicU64::new(0), ended: AtomicU64::new(0) })
    }

    /// A node loses its power: what runs there ends.
    pub(super) fn excuse(&self, number: usize) {
        self.guests.iter().filter(|guest| guest.home == number).for_each(|guest| *guest.process() = None);
    }

    /// Looks at them until the soak is over.
    pub(super) fn watch(&self, journal: &Journal, stop: &Stop) {
        while !stop.wait_for_end(INTERVAL) {
            let running = running();
            let wrong: Vec<String> = self.guests.iter().filter_map(|guest| guest.look(&running, &self.ended)).collect();
            self.looks.fetch_add(1, Ordering::Relaxed);
            if !wrong.is_empty() {
                wrong.into_iter().for_each(|what| journal.defect(what));
                return stop.end();
            }
        }
    }

    /// Those that do not run as they must now, by the word of every node; whoever does is expected to go on.
    pub(super) fn differences(&self, five: &Five) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for number in NODES {
            let systems = five.json(number, &["system", "list"])?;
            let systems = systems.as_array().context("a list")?;
            for guest in &self.guests {
                let seen = systems.iter().find(|system| system["name"] == *guest.name).cloned().unwrap_or_default();
                let status = &seen["status"];
                let pid = status["pid"].as_i64().and_then(|pid| Identity::of(i32::try_from(pid).ok()?));
                let expected = *guest.process();
                match pid.filter(|_pid| status["state"] == "running") {
                    Some(found) if expected.is_none_or(|expected| expected == found) => *guest.process() = Some(found),
                    _other => wrong.push(format!("n{number} says of {}, {expected:?}: {status}", guest.name)),
                }
            }
        }
        Ok(wrong)
    }

    /// What was looked at, in a few words.
    pub(super) fn seen(&self) -> String {
        let [looks, ended] = [&self.looks, &self.ended].map(|count| count.load(Ordering::Relaxed));
        format!("{looks} looks at {} guests, floating ones ended {ended} times for want of a lease", self.guests.len())
    }

    /// Ends them.
    pub(super) fn end(&self, five: &Five) -> Result<()> {
        for guest in &self.guests {
            *guest.process() = None;
            five.run(guest.home, &["--yes", "system", "stop", &guest.name, "--wait"])?;
            five.run(guest.home, &["--yes", "system", "delete", &guest.name, "--wait"])?;
        }
        Ok(())
    }
}

/// The machines that run on this host, with their control groups.
fn running() -> Vec<(Identity, String)> {
    let machines = process::all().into_iter().filter(|pid| process::name(*pid).starts_with(QEMU));
    let grouped =
        machines.filter_map(|pid| Some((Identity::of(pid)?, fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)));
    grouped.collect()
}
