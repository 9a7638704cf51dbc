//! One system in the owner's hands: its machine and what belongs to it here.

use std::collections::BTreeMap;

use acp_base::{ByteSize, Failure, Name, Uid, WallTime};
use acp_core_lease::Deadlines;
use acp_core_system::{Origin, Report, System, Task, command_line::Accelerator};
use acp_io_jobs::JobHandle;
use acp_wire_api::jobs::Started;
use acp_wire_model::system::{SystemMeta, SystemSpec};
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
};

use crate::{
    effects::{OpenDisk, OpenNic, Parts},
    persist::Record,
};

/// Where the answer to a task goes.
pub(crate) type StartedReply = oneshot::Sender<Result<Started, Failure>>;

/// A job with the listener for its cancellation.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) task: Task,
    pub(crate) job: JobHandle,
    pub(crate) listener: Option<AbortHandle>,
}

/// What a start has gathered so far.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) disks: Option<Vec<OpenDisk>>,
    pub(crate) nics: Option<Vec<OpenNic>>,
}

impl Gathered {
    /// Everything, once it is complete.
    pub(crate) fn take(&mut self) -> Option<Parts> {
        let gathered = std::mem::take(self);
        Some(Parts { accelerator: gathered.accelerator?, disks: gathered.disks?, nics: gathered.nics? })
    }
}

/// One system.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) uid: Uid,
    pub(crate) name: Name,
    pub(crate) spec: SystemSpec,
    pub(crate) system: System,
    pub(crate) own_disks: Option<usize>,
    /// At most two: the one at work and the one it replaces.
    pub(crate) work: Vec<Work>,
    pub(crate) gathered: Gathered,
    /// Its memory limit while it runs or is about to.
    pub(crate) limit: Option<ByteSize>,
    pub(crate) accelerator: Option<Accelerator>,
    pub(crate) watch: Option<AbortHandle>,
    /// Counts watches, so that what an aborted one had sent is told from the news.
    pub(crate) watches: u64,
    /// Whether the machine is to be watched as soon as its monitor is spawned.
    pub(crate) watch_when_spawned: bool,
    /// The identity of each unit as spawned, by template; events of an earlier unit of the same name are old.
    pub(crate) spawned: BTreeMap<&'static str, Uid>,
    pub(crate) report: Option<Report>,
    pub(crate) since: WallTime,
    pub(crate) published: Option<SystemMeta>,
    /// Tasks that wait for the system to be where they can be decided.
    pub(crate) waiting: Vec<(Task, StartedReply)>,
    /// Whether the last record could not be written.
    pub(crate) is_unsaved: bool,
    /// Processor time and instant of the last measurement, in milliseconds.
    pub(crate) measured: Option<(u64, u64)>,
    pub(crate) used: ByteSize,
    /// Whether it ran since its last end was counted.
    pub(crate) has_run: bool,
    /// When the start at work began, for the figures.
    pub(crate) start_began: Option<tokio::time::Instant>,
    /// Whether it runs, or is about to, under a lease.
    pub(crate) leased: bool,
    /// What is known of its lease; steps listen.
    pub(crate) lease: watch::Sender<Standing>,
    /// Whether the cluster database does not know it, although nobody deleted it.
    pub(crate) orphan: bool,
}

/// How it stands with the lease of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Until when it may run; absent: it may not.
    pub(crate) deadlines: Option<Deadlines>,
    /// Why not, in a sentence; empty when it may, or nothing was heard.
    pub(crate) reason: String,
}

impl Entry {
    /// A system with what is kept of it.
    pub(crate) fn new(record: Record, task: Option<Task>, same_boot: bool) -> Self {
        let origin = Origin { durable: record.durable(), task, same_boot };
        Self {
            uid: record.uid,
            system: System::new(record.name.clone(), record.uid, origin),
            name: record.name,
            spec: record.spec,
            own_disks: record.own_disks,
            work: Vec::new(),
            gathered: Gathered::default(),
            limit: None,
            accelerator: None,
            watch: None,
            watches: 0,
            watch_when_spawned: false,
            spawned: BTreeMap::new(),
            report: None,
            since: WallTime(0),
            published: None,
            waiting: Vec::new(),
            is_unsaved: false,
            measured: None,
            used: ByteSize(0),
            has_run: false,
            start_began: None,
            leased: record.leased,
            lease: watch::Sender::default(),
            orphan: false,
        }
    }

    /// What is to be kept of it.
    pub(crate) fn record(&self, system: &System) -> Record {
        let durable = system.durable();
        Record {
            uid: self.uid,
            name: self.name.clone(),
            spec: self.spec.clone(),
            power: durable.power,
            made: durable.made,
            deleting: durable.deleting,
            exit: durable.exit,
            reason: durable.reason.clone(),
            own_disks: self.own_disks,
            leased: self.leased,
        }
    }

    /// The job at work.
    pub(crate) fn job(&self) -> Option<&JobHandle> {
        self.work.last().map(|work| &work.job)
    }

    /// Ends the job of this task, if there is one.
    pub(crate) fn finish(&mut self, task: Task, result: Result<(), Failure>) {
        if let Some(at) = self.work.iter().position(|work| work.task.same(task)) {
            let work = self.work.remove(at);
            if let Some(listener) = work.listener {
                listener.abort();
            }
            work.job.finish(result);
        }
    }

    /// Stops listening to its machine.
    pub(crate) fn forget_machine(&mut self) {
        self.watch_when_spawned = false;
        self.watches += 1;
        if let Some(watch) = self.watch.take() {
            watch.abort();
        }
    }
}
