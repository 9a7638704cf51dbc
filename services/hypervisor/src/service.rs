//! The one task that owns every system of the node. Handlers, observers and effects send it messages; it steps the machines
//! and has done what they ask for.

mod asks;
mod drive;
mod leases;
mod objects;
mod publish;
mod units;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use acp_base::{Failure, Name, Uid};
use acp_core_system::{Guest, Input, Step, Task};
use acp_io_client::{Client, ObjectWatch, Reporter};
use acp_io_daemon::{Context, boot_now};
use acp_io_jobs::{JobHandle, Jobs};
use acp_wire_api::{framework::Unit, hub::RenewSessionReply, hypervisor::GetNodeReply};
use acp_wire_model::{
    Object,
    node::{NodeMeta, NodeStats},
    system::SystemSpec,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    accelerator::Verdict,
    config::Config,
    effects::Outcome,
    entry::{Entry, StartedReply},
    host::HostLook,
    persist::Store,
};

/// Messages waiting for the owner. Senders wait when it is full; the owner never sends to itself.
pub(crate) const INBOX_MAX: usize = 1024;

/// How long the owner sleeps when no system waits for anything.
const IDLE: Duration = Duration::from_secs(3600);

/// What reaches the owner.
#[derive(Debug)]
pub(crate) enum Message {
    /// Somebody asks for a task.
    Ask { name: Name, task: Task, reply: StartedReply },
    /// Whether the system can be reset, and which it is.
    AskReset { name: Name, reply: oneshot::Sender<Result<Uid, Failure>> },
    /// What the node is and how loaded.
    AskNode { reply: oneshot::Sender<GetNodeReply> },
    /// A system of this identity is about to be declared on behalf of a caller.
    Proposing { uid: Uid },
    /// It was declared: begin its job.
    Declared { uid: Uid, name: Name, spec: Box<SystemSpec>, reply: oneshot::Sender<Result<Uid, Failure>> },
    /// It was not, or it is not known.
    NotDeclared { uid: Uid },
    /// A step has ended.
    Done { uid: Uid, step: Step, attempt: u32, result: Result<Outcome, Failure> },
    /// Every unit of systems.
    AllUnits(Vec<Unit>),
    /// Units that changed or are gone.
    SomeUnits { units: Vec<Unit>, gone: Vec<String> },
    /// One unit, looked at again.
    OneUnit { name: String, unit: Option<Unit> },
    /// What a machine monitor says.
    Machine { uid: Uid, watch: u64, guest: Guest },
    /// Every unit with its measurements; empty when they cannot be had.
    Measured(Vec<Unit>),
    /// Somebody asked a job to end.
    CancelJob { uid: Uid, job: Uid },
    /// A declaration was looked for and is surely gone.
    SpecMissing { uid: Uid },
    /// What came of renewing this node's leases.
    Renewed(Result<Box<RenewSessionReply>, Failure>),
    /// This node's identity.
    NodeUid(Uid),
    /// The layout of the host's cgroups.
    Cgroups(String),
    /// The accelerator was decided.
    Accelerator,
}

/// What the owner is made of.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) jobs: Jobs,
    pub(crate) reporter: Reporter,
    pub(crate) verdict: watch::Receiver<Option<Verdict>>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) same_boot: bool,
}

/// The owner of every system.
#[derive(Debug)]
pub(crate) struct Owner {
    context: Context,
    client: Client,
    config: Config,
    store: Store,
    jobs: Jobs,
    reporter: Reporter,
    verdict: watch::Receiver<Option<Verdict>>,
    same_boot: bool,
    inbox: mpsc::Sender<Message>,
    entries: BTreeMap<Uid, Entry>,
    /// Every unit of systems by name; nothing before the framework has answered once.
    units: Option<BTreeMap<String, Unit>>,
    /// Identities being declared by callers, with what was seen of them meanwhile.
    proposing: BTreeMap<Uid, Option<Object>>,
    /// Identities said since the last resynchronisation.
    seen: BTreeSet<Uid>,
    /// Whether the cluster database has been read once.
    is_synced: bool,
    leases: leases::Leases,
    node_uid: Option<Uid>,
    node_meta: NodeMeta,
    node_stats: NodeStats,
    last_look: HostLook,
}

impl Owner {
    /// The owner with everything it found at its start.
    pub(crate) fn new(context: &Context, setup: Setup, inbox: mpsc::Sender<Message>) -> Self {
        let mut owner = Self {
            client: context.client.clone(),
            context: context.clone(),
            config: setup.config,
            store: setup.store,
            jobs: setup.jobs,
            reporter: setup.reporter,
            verdict: setup.verdict,
            same_boot: setup.same_boot,
            inbox,
            entries: setup.entries.into_iter().map(|entry| (entry.uid, entry)).collect(),
            units: None,
            proposing: BTreeMap::new(),
            seen: BTreeSet::new(),
            is_synced: false,
            leases: leases::Leases::default(),
            node_uid: None,
            node_meta: NodeMeta::default(),
            node_stats: NodeStats::default(),
            last_look: HostLook::default(),
        };
        owner.look_at_node();
        owner
    }

    /// Listens for the cancellation of the jobs that were taken up, and saves what taking them up changed.
    pub(crate) fn take_up(&mut self, interrupted: Vec<(Uid, Task, JobHandle)>) {
        for (uid, task, job) in interrupted {
            self.add_work(uid, task, job);
            self.save_now(uid);
        }
    }

    /// Works until the drain.
    pub(crate) async fn run(mut self, mut messages: mpsc::Receiver<Message>, mut objects: ObjectWatch) {
        let drain = self.context.drain.clone();
        loop {
            let pause = self.until_next_deadline();
            tokio::select! {
                () = drain.cancelled() => return,
                message = messages.recv() => match message {
                    // What fails because the daemon ends is no failure of the work.
                    Some(message) if !drain.is_cancelled() => self.take(message),
                    Some(_) | None => return,
                },
                event = objects.next() => self.take_object(event),
                () = tokio::time::sleep(pause) => {}
            }
            self.tick();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ask { name, task, reply } => self.ask(&name, task, reply),
            Message::AskReset { name, reply } => drop(reply.send(self.ask_reset(&name))),
            Message::AskNode { reply } => drop(reply.send(self.node())),
            Message::Proposing { uid } => drop(self.proposing.insert(uid, None)),
            Message::Declared { uid, name, spec, reply } => drop(reply.send(self.declared(uid, name, *spec))),
            Message::NotDeclared { uid } => self.not_declared(uid),
            Message::Done { uid, step, attempt, result } => self.done(uid, step, attempt, result),
            Message::AllUnits(units) => self.all_units(units),
            Message::SomeUnits { units, gone } => self.some_units(units, gone),
            Message::OneUnit { name, unit } => self.one_unit(name, unit),
            Message::Machine { uid, watch, guest } => {
                if self.entries.get(&uid).is_some_and(|entry| entry.watches == watch) {
                    self.drive(uid, Input::Machine(guest));
                }
            }
            Message::Measured(units) => self.measured(&units),
            Message::CancelJob { uid, job } => self.cancel_job(uid, job),
            Message::SpecMissing { uid } => self.spec_missing(uid),
            Message::Renewed(result) => self.renewed(result),
            Message::NodeUid(uid) => {
                self.node_uid = Some(uid);
                self.publish_node();
            }
            Message::Cgroups(cgroups) => {
                self.node_meta.cgroups = cgroups;
                self.publish_node();
            }
            Message::Accelerator => {
                self.look_at_node();
                self.publish_node();
            }
        }
    }

    fn until_next_deadline(&self) -> Duration {
        let next = self.entries.values().filter_map(|entry| entry.system.next_deadline()).min();
        let now = boot_now();
        let next = next.map(|deadline| deadline.since(now));
        next.into_iter().chain(self.leases.until_next(now)).min().unwrap_or(IDLE)
    }

    fn tick(&mut self) {
        self.keep_leases();
        let now = boot_now();
        let due = |entry: &&Entry| entry.system.next_deadline().is_some_and(|deadline| deadline <= now);
        let due: Vec<Uid> = self.entries.values().filter(due).map(|entry| entry.uid).collect();
        for uid in due {
            self.drive(uid, Input::Tick);
        }
    }

    fn find(&self, name: &Name) -> Option<&Entry> {
        let mut named: Vec<&Entry> = self.entries.values().filter(|entry| entry.name == *name).collect();
        // A name can belong to a new system while the guest of a deleted one still runs: the new one is meant.
        named.sort_by_key(|entry| entry.uid);
        named.pop()
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, name: &'static str, work: F) -> tokio::task::AbortHandle {
        let drain = self.context.drain.clone();
        self.context.tasks.spawn(name, async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = work => {}
            }
        })
    }
}
