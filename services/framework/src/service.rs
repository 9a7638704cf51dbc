//! The one task that owns every unit.
//!
//! Calls and events reach it as messages; it feeds the machines, performs what they ask for, and publishes what changed: to
//! readers as a snapshot, to the cluster as slots, and to a later framework as records.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use acp_base::{BootInstant, Uid};
use acp_core_supervise::{Input, Output};
use acp_io_client::Reporter;
use acp_io_daemon::{Context, Fatal, Health, Tasks, boot_now};
use acp_io_failpoint::point;
use acp_io_unit::{Notification, NotifySocket};
use acp_wire_api::framework;
use acp_wire_model::{Kind, object::Facet};
use rustix::process::Signal;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::UnitName,
    commands::Command,
    devices::Devices,
    effects::{Event, Job, What, listen},
    error::{StartError, chain},
    logs, metrics,
    part::{self, PartFile, Told},
    persist, prepare,
    site::Site,
    unit::{Goal, Unit},
};

/// Calls on their way to the owner.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Events on their way to the owner: a few for each of some hundred units that end at once.
const EVENTS_MAX: usize = 1024;
/// Notifications of processes whose start was not yet noticed: at most one each.
const EARLY_MAX: usize = 64;
/// The pause before a record that could not be written, or a leftover that could not be removed, is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How often units are measured and their sockets looked after.
const STATS_INTERVAL: Duration = Duration::from_secs(10);
/// How long everything may take to stop before the framework gives up on what cannot be ended: a handful of stages with ten
/// seconds of patience and as many for the kill each.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// Every unit in start order, as readers see them.
pub(crate) type Snapshot = Arc<Vec<framework::Unit>>;

/// The owner.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) site: Arc<Site>,
    pub(crate) devices: Devices,
    pub(crate) users: persist::SystemUsers,
    pub(crate) records: persist::Records,
    pub(crate) units: BTreeMap<UnitName, Unit>,
    pub(crate) reporter: Reporter,
    pub(crate) tasks: Tasks,
    pub(crate) is_stopping: bool,
    /// Counts the processes of all units, so that no two have the same number.
    pub(crate) generations: u64,
    pub(crate) events: mpsc::Sender<Event>,
    happened: mpsc::Receiver<Event>,
    commands: mpsc::Receiver<Command>,
    said: mpsc::Receiver<Notification>,
    early: VecDeque<Notification>,
    /// Units whose last record could not be written.
    unsaved: BTreeSet<UnitName>,
    /// Units that are forgotten and of which something could not be removed.
    pub(crate) unerased: Vec<Unit>,
    /// What the cluster makes of this node, as it is known here.
    pub(crate) part: PartFile,
    /// The same as the agent says it.
    told: watch::Receiver<Option<Told>>,
    /// Why units go on that no role of this node names.
    pub(crate) kept: Vec<String>,
    pub(crate) health: Health,
    /// When all of these are tried again.
    retry_at: Option<Instant>,
    snapshot: watch::Sender<Snapshot>,
    drain: CancellationToken,
}

/// How handlers reach the owner.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) site: Arc<Site>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) snapshot: watch::Receiver<Snapshot>,
}

/// A file that somebody has to look at ends the framework for good; anything else of a disk may pass.
fn unusable(text: String, kind: std::io::ErrorKind) -> Fatal {
    if kind == std::io::ErrorKind::InvalidData { Fatal::config(text) } else { Fatal::temporary(text) }
}

impl Service {
    /// Finds the units that run already, and binds the sockets of those that shall.
    pub(crate) fn open(site: Arc<Site>, part: PartFile, context: &Context) -> Result<(Self, Handle), Fatal> {
        let broken =
            |what: &'static str| move |error: std::io::Error| unusable(format!("cannot {what}: {error}"), error.kind());
        let gid = site.accounts.device_gid().map_err(broken("read the system's groups"))?;
        let devices = Devices::open(&site.paths.run, gid).map_err(broken("read the record of changed devices"))?;
        let users =
            persist::SystemUsers::open(&site.paths.state).map_err(broken("read the table of systems' users"))?;
        let records = persist::Records::open(&site.paths.state).map_err(broken("read the records of units"))?;
        let socket = NotifySocket::bind(&site.notify_socket()).map_err(broken("listen to units"))?;
        let (sender, said) = mpsc::channel(EVENTS_MAX);
        context.tasks.spawn("notifications", listen(socket, sender));
        let (tell, told) = watch::channel(None);
        context
            .tasks
            .spawn("node", part::follow(context.client.clone(), Arc::clone(&site), tell, context.drain.clone()));
        let (events, happened) = mpsc::channel(EVENTS_MAX);
        let (ask, commands) = mpsc::channel(COMMANDS_MAX);
        let (snapshot, seen) = watch::channel(Snapshot::default());
        let mut service = Self {
            site: Arc::clone(&site),
            devices,
            users,
            records,
            units: BTreeMap::new(),
            reporter: Reporter::new(context.client.clone(), context.incarnation),
            tasks: context.tasks.clone(),
            is_stopping: false,
            generations: 0,
            events,
            happened,
            commands,
            said,
            early: VecDeque::new(),
            unsaved: BTreeSet::new(),
            unerased: Vec::new(),
            part,
            told,
            kept: Vec::new(),
            health: context.health.clone(),
            retry_at: None,
            snapshot,
            drain: context.drain.clone(),
        };
        service.tasks.spawn("reporter", service.reporter.clone().run(context.drain.clone()));
        service.say_health();
        service.adopt().map_err(broken("read the records of units"))?;
        service.settle();
        Ok((service, Handle { site, commands: ask, snapshot: seen }))
    }

    /// Owns the units until everything has stopped, or until nobody can reach it: its successor then adopts them.
    pub(crate) async fn run(mut self) -> Result<(), Fatal> {
        let mut measure = interval(STATS_INTERVAL);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let drain = self.drain.clone();
        let mut give_up = None;
        while !(self.is_stopping && self.units.values().all(Unit::is_gone)) {
            let due = self.next_deadline();
            tokio::select! {
                () = drain.cancelled(), if !self.is_stopping => {
                    tracing::info!("stopping every unit");
                    self.is_stopping = true;
                    give_up = Some(Instant::now() + STOP_LIMIT);
                }
                Some(event) = self.happened.recv() => self.event(event),
                Some(command) = self.commands.recv() => self.command(command),
                Some(notification) = self.said.recv() => self.notified(notification),
                Ok(()) = self.told.changed() => self.learn(),
                _instant = measure.tick() => {
                    self.measure();
                    if !self.is_stopping && !self.is_reachable() {
                        return Err(Fatal::temporary("somebody removed the framework's socket"));
                    }
                    if !self.is_stopping {
                        self.keep_reachable();
                    }
                }
                () = until(due) => self.tick(),
                () = until(self.retry_at) => self.retry(),
                () = until(give_up) => {
                    tracing::error!("some units cannot be stopped");
                    break;
                }
            }
            self.settle();
        }
        self.forget_all();
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let next = self.units.values().filter_map(|unit| unit.machine.next_deadline()).min()?;
        Some(Instant::now() + next.since(boot_now()))
    }

    fn tick(&mut self) {
        let now = boot_now();
        let is_due = |unit: &&Unit| unit.machine.next_deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<UnitName> = self.units.values().filter(is_due).map(|unit| unit.name.clone()).collect();
        for name in due {
            self.feed_at(&name, now, Input::Tick);
        }
    }

    /// Tells a unit's machine what happened and does what it asks for.
    pub(crate) fn feed(&mut self, name: &UnitName, input: Input) {
        self.feed_at(name, boot_now(), input);
    }

    fn feed_at(&mut self, name: &UnitName, now: BootInstant, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(unit) = self.units.get_mut(name) else { return };
            let mut outputs = Vec::new();
            unit.machine.step(now, input, &mut outputs);
            for output in outputs {
                inputs.extend(self.perform(name, output));
            }
        }
    }

    /// Does one thing; answers what its failure has to be told as.
    fn perform(&mut self, name: &UnitName, output: Output) -> Option<Input> {
        let unit = self.units.get_mut(name)?;
        match output {
            Output::Spawn => return self.spawn(name).err().map(Input::SpawnFailed),
            Output::Terminate => signal(unit, Signal::TERM),
            Output::Kill => {
                unit.group.kill();
                signal(unit, Signal::KILL);
            }
            Output::Changed => unit.changed(),
        }
        None
    }

    fn spawn(&mut self, name: &UnitName) -> Result<(), String> {
        let Some(unit) = self.units.get_mut(name) else { return Ok(()) };
        self.generations += 1;
        unit.generation = self.generations;
        unit.main = None;
        unit.node = self.site.node();
        let prepared = prepare::prepare(&self.site, &mut self.devices, unit).map_err(|error| chain(&error))?;
        if !unit.keeps_descriptors() {
            unit.given.clear();
        }
        let limits = self.limits(name);
        // A framework that dies now finds the process by this record and the shim's.
        self.save(name);
        let Some(job) = self.job(name) else { return Ok(()) };
        let shim = self.site.paths.bin.join("acp-shim");
        let environment = vec![("ACP_RUN_DIR".to_owned(), self.site.paths.run.display().to_string())];
        self.tasks.spawn("unit", job.start(shim, environment, limits, prepared));
        metrics::spawned(&name.template);
        Ok(())
    }

    /// What a task needs to work for the unit's present process.
    pub(crate) fn job(&self, name: &UnitName) -> Option<Job> {
        let unit = self.units.get(name)?;
        Some(Job {
            unit: name.clone(),
            generation: unit.generation,
            group: unit.group.clone(),
            records: self.site.records(&name.to_string()),
            events: self.events.clone(),
        })
    }

    fn event(&mut self, event: Event) {
        let Event { unit: name, generation, what } = event;
        let Some(unit) = self.units.get_mut(&name).filter(|unit| unit.generation == generation) else { return };
        match what {
            What::Spawned(main) => {
                let pid = main.as_ref().map(|main| main.pid());
                unit.main = main;
                self.feed(&name, Input::SpawnDone);
                if let Some(unit) = self.units.get_mut(&name) {
                    unit.answer_spawned();
                }
                self.hear_early(pid);
            }
            What::SpawnFailed(why) => self.feed(&name, Input::SpawnFailed(why)),
            What::ShimLost => self.feed(&name, Input::ShimLost),
            What::Ended(exit) => {
                metrics::ended(&name.template);
                self.feed(&name, Input::Exited(exit));
            }
        }
    }

    /// A process may say that it is ready before it is known that it runs.
    fn hear_early(&mut self, pid: Option<u32>) {
        let (now, later) = std::mem::take(&mut self.early).into_iter().partition(|said| Some(said.pid) == pid);
        self.early = later;
        let now: VecDeque<Notification> = now;
        now.into_iter().for_each(|said| self.notified(said));
    }

    fn notified(&mut self, said: Notification) {
        let sender = self.units.values().find(|unit| unit.main.as_ref().is_some_and(|main| main.pid() == said.pid));
        let Some(name) = sender.map(|unit| unit.name.clone()) else {
            if self.early.len() == EARLY_MAX {
                self.early.pop_front();
            }
            self.early.push_back(said);
            return;
        };
        if said.ready {
            // Until the next tick a running unit would seem to take no memory.
            self.measure_unit(&name);
            self.feed(&name, Input::Ready);
        }
        if said.watchdog {
            self.feed(&name, Input::WatchdogPing);
        }
    }

    /// After every message: starts what waits no longer, stops what comes next, answers who waited, and tells what changed.
    pub(crate) fn settle(&mut self) {
        if self.is_stopping {
            self.stop_next();
        } else {
            self.follow_roles();
            self.start_ready();
            self.follow_name();
        }
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        for name in &names {
            self.answer(name);
        }
        self.publish();
    }

    /// Answers the calls that wait for a unit, and forgets it if that is what they waited for.
    fn answer(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get_mut(name) else { return };
        let is_removed = unit.is_gone() && unit.waiters.iter().any(|waiter| waiter.goal == Goal::Removed);
        unit.answer_waiters();
        if is_removed {
            self.forget(name);
        }
    }

    /// Tells what changed: readers, the cluster, and a later framework.
    fn publish(&mut self) {
        let changed: Vec<UnitName> =
            self.units.values().filter(|unit| unit.is_changed).map(|unit| unit.name.clone()).collect();
        for name in &changed {
            self.save(name);
            if let Some(unit) = self.units.get_mut(name) {
                unit.is_changed = false;
                self.reporter.put(Kind::Service, unit.uid, Some(name.to_string()), Facet::Meta, &unit.meta());
            }
        }
        if !changed.is_empty() || self.snapshot.borrow().len() != self.units.len() {
            metrics::units(self.units.values().map(|unit| unit.machine.state()));
            self.snapshot.send_replace(Arc::new(self.list()));
        }
    }

    fn list(&self) -> Vec<framework::Unit> {
        let mut units: Vec<&Unit> = self.units.values().collect();
        units.sort_by_key(|unit| (self.site.catalog.position(&unit.name.template), &unit.name));
        units.into_iter().map(Unit::to_wire).collect()
    }

    /// Records a unit; one that cannot be recorded goes on and is tried again.
    fn save(&mut self, name: &UnitName) {
        if let Err(error) = self.record(name) {
            tracing::error!(unit = %name, %error, "a unit cannot be recorded: a restarted framework would not find it");
            self.unsaved.insert(name.clone());
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_PAUSE);
        }
    }

    pub(crate) fn record(&self, name: &UnitName) -> std::io::Result<()> {
        self.units.get(name).map_or(Ok(()), |unit| self.records.save(&unit.to_record(&self.site.boot_id)))
    }

    /// Takes in what the agent has said of this node: it counts from now on, also for a later framework.
    fn learn(&mut self) {
        let told = self.told.borrow_and_update().clone();
        let Some(told) = told.filter(|told| self.part.take(told)) else { return };
        tracing::info!(name = %told.name, withheld = ?told.withheld, "what the cluster makes of this node has changed");
        self.health.rename_node(told.name.clone());
        self.site.rename(told.name);
        self.keep_part();
    }

    fn keep_part(&mut self) {
        if let Err(error) = self.part.save() {
            tracing::error!(%error, "what the cluster makes of this node cannot be recorded: a restarted framework would not know");
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_PAUSE);
        }
    }

    /// Records and erases what could not be recorded or erased before.
    fn retry(&mut self) {
        self.retry_at = None;
        self.keep_part();
        for name in std::mem::take(&mut self.unsaved) {
            self.save(&name);
        }
        for unit in std::mem::take(&mut self.unerased) {
            self.erase(unit);
        }
    }

    fn measure(&mut self) {
        let names: Vec<UnitName> = self.units.keys().cloned().collect();
        names.iter().for_each(|name| self.measure_unit(name));
        self.snapshot.send_replace(Arc::new(self.list()));
    }

    fn measure_unit(&mut self, name: &UnitName) {
        let Some(unit) = self.units.get_mut(name) else { return };
        let usage = unit.group.usage();
        unit.stats.cpu_ms = u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX);
        unit.stats.memory_bytes = usage.memory_bytes;
        unit.stats.log_bytes = logs::size(&self.site.log(&unit.name.to_string()), self.site.log_files);
        self.reporter.put(Kind::Service, unit.uid, Some(unit.name.to_string()), Facet::Stats, &unit.stats);
    }

    /// Forgets a unit that is gone.
    pub(crate) fn forget(&mut self, name: &UnitName) {
        let Some(unit) = self.units.remove(name) else { return };
        self.reporter.remove(Kind::Service, unit.uid);
        self.erase(unit);
        logs::prune(&self.site.paths.log, &self.units.keys().map(ToString::to_string).collect());
    }

    /// Removes what a unit leaves, its record last, so that a later framework finds what this one could not remove.
    fn erase(&mut self, unit: Unit) {
        let erased = prepare::clean(&self.site, &unit).and_then(|()| {
            point("framework.remove.cleaned")?;
            let name = unit.name.to_string();
            self.records.remove(&name).map_err(StartError::path("remove the record of", name))
        });
        if let Err(error) = erased {
            tracing::error!(unit = %unit.name, error = chain(&error), "what a unit leaves was not removed; it is tried again");
            self.unerased.push(unit);
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY_PAUSE);
        }
    }

    /// Leaves nothing to a later framework that is not so any more.
    fn forget_all(&mut self) {
        let gone: Vec<UnitName> =
            self.units.values().filter(|unit| unit.is_gone()).map(|unit| unit.name.clone()).collect();
        gone.iter().for_each(|name| self.forget(name));
    }

    /// The identity of a unit that is made now.
    pub(crate) fn new_uid() -> Uid {
        acp_io_daemon::new_uid()
    }
}

fn signal(unit: &Unit, signal: Signal) {
    let Some(main) = &unit.main else { return };
    if let Err(error) = main.signal(signal) {
        tracing::error!(unit = %unit.name, ?signal, %error, "a unit's process cannot be signalled");
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
