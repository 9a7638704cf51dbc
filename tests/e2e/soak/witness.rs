//! A guest that only answers: its page is asked for all the time, and its process must live through every fault but the loss
//! of power.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use acp_dev_testkit::{process::Identity, wait_for};
use anyhow::{Context as _, Result};

use super::{ask::must, journal::Journal, stop::Stop};
use crate::world::{BOOT_LIMIT, LIMIT, World};

/// The name of its system and of its network, which no fault breaks.
pub(super) const NAME: &str = "soak-witness";
/// The address of that network.
const ADDRESS: &str = "10.89.0.1/24";
/// How often its page is asked for.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long it may be silent. Its processor is emulated on a machine whose processors others use up, and TCP waits a second
/// and more before it sends again what was lost.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What came of asking.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watched {
    pub(super) pages: u64,
    pub(super) longest: Duration,
}

/// The guest.
#[derive(Debug)]
pub(super) struct Witness {
    address: IpAddr,
    /// Its process; nothing while it is meant to be away.
    process: Mutex<Option<Identity>>,
    watched: Mutex<Watched>,
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

impl Witness {
    /// Makes it and waits for its page.
    pub(super) fn make(world: &World) -> Result<Self> {
        must(world.node.layout(), &words(&format!("network create {NAME} --address {ADDRESS}")))?;
        must(world.node.layout(), &words(&format!("system create {NAME} --image demo --network {NAME} --wait")))?;
        let spec = world.show(NAME)?.spec;
        let address = spec["nics"][0]["address"].as_str().context("the witness has no address")?.parse()?;
        let witness = Self { address, process: Mutex::default(), watched: Mutex::default() };
        witness.start(world)?;
        Ok(witness)
    }

    /// Starts it, at first and after a loss of power, and waits for its page.
    pub(super) fn start(&self, world: &World) -> Result<()> {
        must(world.node.layout(), &words(&format!("system start {NAME} --wait")))?;
        let pid =
            world.wait_state(NAME, "running", LIMIT)?["pid"].as_i64().context("a running system has a process")?;
        let process = Identity::of(i32::try_from(pid)?).context("the witness has ended")?;
        wait_for("the page of the witness", BOOT_LIMIT, || {
            let console = || world.console(NAME).unwrap_or_else(|error| format!("{error:#}"));
            self.page(world).map_err(|error| format!("{error:#}\n{}", console()))
        })?;
        *self.process() = Some(process);
        Ok(())
    }

    /// From now on it may be away.
    pub(super) fn excuse(&self) {
        *self.process() = None;
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Identity>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, world: &World) -> Result<()> {
        let page = world.page(self.address)?;
        page.contains(&format!("<h1>{NAME}</h1>")).then_some(()).context(page)
    }

    /// What came of asking so far.
    pub(super) fn watched(&self) -> Watched {
        *self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for its page until the soak is over.
    pub(super) fn watch(&self, world: &World, journal: &Journal, stop: &Stop) {
        let mut heard = Instant::now();
        while !stop.wait_for_end(INTERVAL) {
            let before = *self.process();
            let answer = self.page(world);
            // Asked while it was on its way down or up: that says nothing.
            let Some(process) = before.filter(|process| *self.process() == Some(*process)) else {
                heard = Instant::now();
                continue;
            };
            let silence = heard.elapsed();
            if answer.is_ok() {
                heard = Instant::now();
                self.heard(silence);
            } else if silence > SILENCE_MAX || !process.is_alive() {
                let is = if process.is_alive() { "lives and is silent" } else { "has died" };
                journal.defect(format!("the witness {is}: {answer:?} after {:.1} s", silence.as_secs_f64()));
                return stop.end();
            }
        }
    }

    fn heard(&self, silence: Duration) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.pages += 1;
        watched.longest = watched.longest.max(silence);
    }

    /// Ends it.
    pub(super) fn end(&self, world: &World) -> Result<()> {
        self.excuse();
        for line in ["system stop NAME --wait", "system delete NAME --wait", "network delete NAME"] {
            must(world.node.layout(), &words(&format!("--yes {}", line.replace("NAME", NAME))))?;
        }
        Ok(())
    }
}
