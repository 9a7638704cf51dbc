//! Steps a machine and performs what it asks for, in its order.

use acp_base::{Code, Failure, Uid};
use acp_core_system::{
    Durable, Effect, Input, Step, Task,
    command_line::Accelerator,
    limits::{self, HostMemory, Promise},
};
use acp_io_daemon::boot_now;
use acp_io_jobs::JobHandle;

use super::{Message, Owner};
use crate::{
    effects::{Act, Outcome, VMM, unit_name},
    entry::{Entry, Work},
    host, metrics, observe,
};

impl Owner {
    /// Feeds an input. A record that cannot be written is written again later; what was observed stays true.
    pub(super) fn drive(&mut self, uid: Uid, input: Input) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let mut effects = Vec::new();
        entry.system.step(boot_now(), input, &mut effects);
        if let Err(failure) = save(&self.store, entry, &effects) {
            tracing::error!(system = %entry.name, %failure, "a system's state cannot be kept");
            entry.is_unsaved = true;
        }
        self.perform_all(uid, effects);
    }

    /// Feeds an operator's input, or refuses it and changes nothing if its effect cannot be made durable.
    pub(super) fn try_drive(&mut self, uid: Uid, input: Input) -> Result<(), Failure> {
        let Some(entry) = self.entries.get_mut(&uid) else { return Ok(()) };
        let (mut next, mut effects) = (entry.system.clone(), Vec::new());
        next.step(boot_now(), input, &mut effects);
        let current = std::mem::replace(&mut entry.system, next);
        if let Err(failure) = save(&self.store, entry, &effects) {
            entry.system = current;
            // The record may say already what is refused here, and a successor would act on it.
            self.save_now(uid);
            return Err(failure);
        }
        self.perform_all(uid, effects);
        Ok(())
    }

    /// Writes a system's record whatever it says.
    pub(super) fn save_now(&mut self, uid: Uid) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let result = self.store.save(&entry.record(&entry.system));
        entry.is_unsaved = result.is_err();
        if let Err(failure) = result {
            tracing::error!(system = %entry.name, %failure, "a system's state cannot be kept");
        }
    }

    fn perform_all(&mut self, uid: Uid, effects: Vec<Effect>) {
        for effect in effects {
            self.perform(uid, effect);
        }
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if !entry.system.wants_descriptors() {
            entry.gathered = crate::entry::Gathered::default();
        }
        if !entry.system.holds_memory() {
            entry.limit = None;
            entry.accelerator = None;
        }
        self.watch_if_due(uid);
        self.claim(uid);
        self.publish_system(uid);
        self.ask_again(uid);
    }

    fn perform(&mut self, uid: Uid, effect: Effect) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        match effect {
            // Written before anything else was performed.
            Effect::Save(Durable { .. }) => {}
            Effect::Perform { step, attempt } => self.begin_step(uid, step, attempt),
            Effect::WatchMachine => entry.watch_when_spawned = true,
            Effect::ForgetMachine => entry.forget_machine(),
            Effect::Progress(text) => {
                if let Some(job) = entry.job() {
                    job.step(text, None);
                }
            }
            Effect::Finish { task, result } => finish(entry, task, result),
            Effect::Report(report) => self.reported(uid, report),
            Effect::Forget => self.forget(uid),
        }
    }

    fn begin_step(&mut self, uid: Uid, step: Step, attempt: u32) {
        if step == Step::TakeLease {
            self.begin_leasing(uid);
        }
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        let parts = (step == Step::SpawnQemu).then(|| entry.gathered.take()).flatten();
        let act = Act {
            client: self.client.clone(),
            uid,
            name: entry.name.clone(),
            spec: entry.spec.clone(),
            own_disks: entry.own_disks.unwrap_or(entry.spec.disks.len()),
            verdict: self.verdict.clone(),
            parts,
            lease: entry.leased.then(|| entry.lease.subscribe()),
            is_awaited: entry.job().is_some(),
            vmm_ended: self.has_ended(&unit_name(VMM, uid)),
        };
        let inbox = self.inbox.clone();
        tracing::debug!(system = %act.name, ?step, attempt, "step begun");
        self.spawn("step", async move {
            let result = act.perform(step).await;
            // An owner that is gone needs no answer.
            drop(inbox.send(Message::Done { uid, step, attempt, result }).await);
        });
    }

    pub(super) fn done(&mut self, uid: Uid, step: Step, attempt: u32, result: Result<Outcome, Failure>) {
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if !entry.system.awaits(step, attempt) {
            return;
        }
        if let Err(failure) = &result {
            tracing::info!(system = %entry.name, ?step, reason = %failure, "step failed");
        }
        let mut unit = None;
        let result = match result {
            Err(failure) => Err(failure),
            Ok(Outcome::Nothing) => Ok(()),
            Ok(Outcome::Disks(disks)) => {
                entry.gathered.disks = Some(disks);
                Ok(())
            }
            Ok(Outcome::Nics(nics)) => {
                entry.gathered.nics = Some(nics);
                Ok(())
            }
            Ok(Outcome::Spawned(spawned)) => {
                unit = Some(spawned);
                Ok(())
            }
            Ok(Outcome::MadeUpTo { own_disks, failure }) => {
                entry.own_disks = Some(own_disks);
                Err(failure)
            }
            Ok(Outcome::Accelerator(accelerator)) => self.check_limits(uid, accelerator),
        };
        if step == Step::RemoveUnits && result.is_ok() {
            self.units_removed(uid);
        }
        let spawned = unit.map(|unit| self.unit_spawned(uid, unit)).is_some();
        self.drive(uid, Input::Done { step, attempt, result });
        if spawned {
            self.feed_units(uid);
        }
    }

    /// Whether the host has the memory; if so, it is promised from now on.
    fn check_limits(&mut self, uid: Uid, accelerator: Accelerator) -> Result<(), Failure> {
        self.has_memory_for(uid, accelerator)?;
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.limit = Some(limits::memory_limit(entry.spec.memory_bytes, accelerator));
            entry.accelerator = Some(accelerator);
            entry.used = acp_base::ByteSize(0);
            entry.gathered.accelerator = Some(accelerator);
        }
        Ok(())
    }

    pub(super) fn has_memory_for(&self, uid: Uid, accelerator: Accelerator) -> Result<(), Failure> {
        let Some(entry) = self.entries.get(&uid) else { return Ok(()) };
        let available = host::memory_available()
            .map_err(|error| Failure::unavailable(format!("the host's free memory is not known: {error}")))?;
        let host = HostMemory { available, reserve: acp_base::ByteSize(self.config.host_reserve_bytes) };
        limits::check(entry.spec.memory_bytes, accelerator, host, &self.promises(Some(uid)))
            .map_err(|shortage| Failure::new(Code::ResourceExhausted, format!("system {}: {shortage}", entry.name)))
    }

    /// What running systems were promised, without this one.
    pub(super) fn promises(&self, except: Option<Uid>) -> Vec<Promise> {
        let others = self.entries.values().filter(|entry| Some(entry.uid) != except);
        others.filter_map(|entry| Some(Promise { limit: entry.limit?, used: entry.used })).collect()
    }

    /// Begins to listen to a machine once its monitor's socket is there.
    fn watch_if_due(&mut self, uid: Uid) {
        let is_there = self.units.as_ref().is_some_and(|units| units.contains_key(&unit_name(VMM, uid)));
        let (client, inbox) = (self.client.clone(), self.inbox.clone());
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        if !entry.watch_when_spawned || !is_there {
            return;
        }
        entry.forget_machine();
        let watch = entry.watches;
        let handle = self.spawn("machine watch", observe::machine(client, inbox, uid, watch));
        if let Some(entry) = self.entries.get_mut(&uid) {
            entry.watch = Some(handle);
        }
    }

    /// Keeps a job and listens for its cancellation.
    pub(super) fn add_work(&mut self, uid: Uid, task: Task, job: JobHandle) {
        let listener = task.cancellable().then(|| {
            let (inbox, listened) = (self.inbox.clone(), job.clone());
            self.spawn("job cancellation", async move {
                listened.cancelled().await;
                // An owner that is gone cancels nothing any more.
                drop(inbox.send(Message::CancelJob { uid, job: listened.id() }).await);
            })
        });
        match self.entries.get_mut(&uid) {
            Some(entry) => entry.work.push(Work { task, job, listener }),
            None => job.finish(Err(Failure::not_found("the system is gone"))),
        }
    }

    pub(super) fn cancel_job(&mut self, uid: Uid, job: Uid) {
        if self.entries.get(&uid).and_then(Entry::job).is_some_and(|at_work| at_work.id() == job) {
            self.drive(uid, Input::Cancel);
        }
    }

    fn forget(&mut self, uid: Uid) {
        let Some(mut entry) = self.entries.remove(&uid) else { return };
        tracing::info!(system = %entry.name, "system forgotten");
        entry.forget_machine();
        if let Err(error) = self.store.remove(uid) {
            tracing::warn!(system = %entry.name, %error, "a system's record cannot be removed");
        }
        self.reporter.remove(acp_wire_model::Kind::System, uid);
        for work in entry.work {
            work.job.finish(Err(Failure::not_found("the system is gone")));
        }
        for (_task, reply) in entry.waiting {
            // A caller that is gone needs no answer.
            drop(reply.send(Err(Failure::not_found(format!("system {} was deleted meanwhile", entry.name)))));
        }
    }
}

fn save(store: &crate::persist::Store, entry: &mut Entry, effects: &[Effect]) -> Result<(), Failure> {
    if !effects.iter().any(|effect| matches!(effect, Effect::Save(_))) {
        return Ok(());
    }
    store.save(&entry.record(&entry.system))?;
    entry.is_unsaved = false;
    Ok(())
}

fn finish(entry: &mut Entry, task: Task, result: Result<(), Failure>) {
    if task.same(Task::Start)
        && result.is_ok()
        && let Some(began) = entry.start_began.take()
    {
        metrics::started(began.elapsed());
    }
    entry.finish(task, result);
}
