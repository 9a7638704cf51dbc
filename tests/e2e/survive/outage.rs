//! Units that are ended or stopped from outside, and when they do their work again: what several lines ask for.

use std::time::{Duration, Instant};

use acp_dev_testkit::{
    process::Identity,
    varlink::{self, Conversation},
    wait_for,
};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{LIMIT, World};

/// How long a killed daemon may be away.
pub(super) const BACK_LIMIT: Duration = Duration::from_secs(2);
/// How long the state and the reason of what ended may be wrong.
pub(super) const TOLD_LIMIT: Duration = Duration::from_secs(1);
/// The volume that is asked for again and again; asking for what is there changes nothing.
const VOLUME: &str = "asked";
/// Its size in bytes.
const VOLUME_BYTES: u64 = 4 << 20;

/// A system that runs while daemons end, and what proves that they do their work.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) uid: String,
    pub(super) qemu: Identity,
}

/// A unit as the framework has it: `state`, `reason`, `pid`, `restarts`, `exit`.
pub(super) fn unit(world: &World, name: &str) -> Result<Value> {
    let mut reply = world.call("framework", "acp.framework.GetUnit", json!({ "name": name }))?;
    Ok(reply["unit"]["meta"].take())
}

/// Makes a system run that has not been made yet, without waiting for its guest.
pub(super) fn started(world: &World, name: &'static str) -> Result<Subject> {
    world.create(name)?;
    world.start_system(name)?;
    Subject::of(world, name)
}

/// Signals what was found, then waits until all of it holds what was wanted; answers when the signal was sent.
pub(super) fn signal_all(victims: &[Identity], signal: Signal) -> Result<Instant> {
    let at = Instant::now();
    victims.iter().try_for_each(|victim| victim.signal(signal))?;
    Ok(at)
}

/// Ends a unit by force and answers how long it was away: until another process of it does its work.
pub(super) fn kill(world: &World, subject: &Subject, unit: &str) -> Result<Duration> {
    let killed = subject.process(world, unit)?;
    let at = signal_all(&[killed], Signal::KILL)?;
    wait_for(&format!("{unit} to do its work again"), LIMIT, || {
        subject.works(world, unit, killed).map_err(|error| format!("{error:#}"))
    })?;
    Ok(at.elapsed())
}

impl Subject {
    pub(super) fn of(world: &World, name: &'static str) -> Result<Self> {
        let status = world.wait_state(name, "running", LIMIT)?;
        let pid = i32::try_from(status["pid"].as_i64().context("a running system has a process")?)?;
        let qemu = Identity::of(pid).context("its process has ended")?;
        Ok(Self { name, uid: world.show(name)?.uid, qemu })
    }

    /// The unit of a template that belongs to the system.
    pub(super) fn unit(&self, template: &str) -> String {
        format!("{template}@{}", self.uid.replace('-', ""))
    }

    /// The units that may die without the guest noticing, the framework excepted.
    pub(super) fn daemons(&self) -> Vec<String> {
        let fixed = ["cluster", "storage", "storage-worker@default", "network", "hypervisor"];
        fixed.into_iter().map(str::to_owned).chain([self.unit("vmm")]).collect()
    }

    /// The process that answers at a unit's socket now.
    pub(super) fn process(&self, world: &World, unit: &str) -> Result<Identity> {
        let health = world.call(&unit.replace('@', "/"), "acp.daemon.GetHealth", json!({}))?;
        ensure!(health["ready"] == true && health["reason"] == "", "not all is well with {unit}: {health}");
        let pid = i32::try_from(health["pid"].as_i64().context("a process has an id")?)?;
        Identity::of(pid).with_context(|| format!("process {pid} of {unit} has ended"))
    }

    /// Whether another process than `before` is there and does what the unit is for.
    pub(super) fn works(&self, world: &World, unit: &str, before: Identity) -> Result<()> {
        let now = self.process(world, unit)?;
        ensure!(now != before, "process {} of {unit} has not ended", before.pid);
        match unit.split('@').next().unwrap_or_default() {
            "framework" => super::outage::unit(world, "cluster").map(drop),
            "cluster" => self.is_shown(world),
            "storage" | "storage-worker" => ask_for_volume(world),
            "network" => network_is_kept(world),
            "hypervisor" => self.is_kept_running(world),
            "vmm" => self.runs_says_its_monitor(world),
            other => bail!("nothing is known that proves that {other} works"),
        }
    }

    /// The cluster shows the spec, which it keeps, and the status, which the hypervisor has to tell it again.
    fn is_shown(&self, world: &World) -> Result<()> {
        let shown = world.show(self.name)?;
        ensure!(shown.uid == self.uid, "{} is another system now", self.name);
        let status = shown.status;
        ensure!(status["state"] == "running" && status["pid"] == self.qemu.pid, "it is shown as {status}");
        Ok(())
    }

    /// The hypervisor knows that there is nothing to start.
    fn is_kept_running(&self, world: &World) -> Result<()> {
        let reply = world.call("hypervisor", "acp.hypervisor.StartSystem", json!({ "name": self.name }))?;
        ensure!(reply["job"].is_null(), "a system that runs is being started: {reply}");
        self.is_shown(world)
    }

    fn runs_says_its_monitor(&self, world: &World) -> Result<()> {
        let mut watch = Conversation::open(&world.node.socket(&self.unit("vmm").replace('@', "/")))?;
        watch.send(&json!({ "method": "acp.vmm.Watch", "parameters": {}, "more": true }))?;
        let first = watch.receive()?.context("its monitor closed the connection")?;
        ensure!(first["parameters"]["state"] == "running", "its monitor says {first}");
        Ok(())
    }
}

/// Makes the volume, or finds it: a worker has to look at its pool for either.
pub(super) fn ask_for_volume(world: &World) -> Result<()> {
    let parameters = json!({ "pool": "default", "volume": VOLUME, "size_bytes": VOLUME_BYTES });
    let reply = world.call("storage", "acp.storage.CreateVolume", parameters)?;
    ensure!(reply["size_bytes"] == VOLUME_BYTES, "it is another volume: {reply}");
    Ok(())
}

/// Removes what [`ask_for_volume`] made.
pub(super) fn forget_volume(world: &World) -> Result<()> {
    world.node.run(&["--yes", "volume", "delete", &format!("default/{VOLUME}")]).map(drop)
}

/// The network service knows who uses the network, and says that the network is up.
fn network_is_kept(world: &World) -> Result<()> {
    let socket = world.node.socket("network");
    let reply = Conversation::open(&socket)?.call("acp.network.DeleteNetwork", json!({ "name": "default" }))?;
    ensure!(reply["error"] == "acp.error.FailedPrecondition", "it answered {reply}");
    let network = varlink::call(
        &world.node.socket("cluster"),
        "acp.cluster.Get",
        json!({ "kind": "network", "name": "default" }),
    )?;
    let slots = network["object"]["slots"].as_array().context("an object has slots")?;
    let is_up = slots.iter().any(|slot| slot["facet"] == "meta" && slot["data"]["state"] == "up");
    ensure!(is_up, "the network is {slots:?}");
    Ok(())
}
