//! The machine itself: its phases, the table of inputs, and what all phases share.

mod create;
mod end;
mod run;
mod settle;
mod start;

use std::time::Duration;

use acp_base::{BootInstant, Code, Failure, Name, Uid};
use acp_wire_model::{
    system::{PowerIntent, SystemState},
    unit::UnitExit,
};

use crate::{Durable, Effect, Guest, Input, Report, Sight, Step, Task, input::Inflight, policy::Restarts};

/// Where a system stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Phase {
    /// Built from its durable part; what of it runs is not known yet.
    Settling,
    /// Its volumes are being made.
    Creating,
    /// Making its volumes failed: what was made is being deleted, then the declaration.
    Unmaking { failure: Failure },
    /// Not running; no unit exists.
    Stopped,
    /// Its lease is being had.
    Leasing,
    /// Limits, volumes and taps are under way, all at once.
    Preparing,
    /// QEMU and its monitor are being spawned; QMP is awaited.
    Spawning,
    /// The processors are being let run.
    Resuming,
    /// QEMU was running before this process; the monitor's first word is awaited.
    Adopting,
    /// The guest has its processors.
    Running,
    /// The power button was pressed.
    ShuttingDown { until: BootInstant, timeout: Duration, force: bool },
    /// QEMU was told to end.
    Quitting,
    /// QEMU ended; the monitor's last word is awaited.
    Ending { exit: UnitExit },
    /// Units are being removed.
    Removing { then: Then },
    /// Waits before it is started again.
    Backoff,
    /// Should run and will not by itself.
    Failed,
    /// Is being deleted.
    Deleting { stage: Stage },
    /// Does not exist any more.
    Gone,
}

/// What comes after the units are removed, unless the power intent says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Then {
    /// As the power intent says.
    Rest,
    /// The start has failed.
    Undo(Failure),
    /// It ended unexpectedly: the restart policy decides.
    Again,
}

/// How far deleting has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Units,
    Volumes,
    Spec,
}

/// Where the durable part of a machine comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// What was saved last, or [`Durable::declared`].
    pub durable: Durable,
    /// The task that was at work in the previous life, or begins with the declaration.
    pub task: Option<Task>,
    /// Whether the host was not booted since.
    pub same_boot: bool,
}

/// One system. See the crate's documentation for its invariants.
#[derive(Clone, Debug, PartialEq)]
pub struct System {
    pub(crate) name: Name,
    uid: Uid,
    pub(crate) phase: Phase,
    pub(crate) task: Option<Task>,
    pub(crate) orphan: bool,
    pub(crate) inflight: Inflight,
    durable: Durable,
    same_boot: bool,
    attempt: u32,
    deadline: Option<BootInstant>,
    guest: Option<Guest>,
    restarts: Restarts,
    retries: usize,
    cancelled: bool,
    /// Its lease was lost since it was last prepared: what it ends of is no fault of its own.
    is_lease_lost: bool,
    reported: Option<Report>,
}

impl System {
    /// A system whose units are not known yet: it does nothing before the first [`Input::Units`].
    pub fn new(name: Name, uid: Uid, origin: Origin) -> Self {
        let mut durable = origin.durable;
        match origin.task {
            Some(Task::Start) => durable.power = PowerIntent::On,
            Some(Task::Stop | Task::Shutdown { .. }) => durable.power = PowerIntent::Off,
            Some(Task::Delete) => durable.deleting = true,
            Some(Task::Create) | None => {}
        }
        Self {
            name,
            uid,
            phase: Phase::Settling,
            task: origin.task,
            orphan: false,
            inflight: Inflight::new(),
            durable,
            same_boot: origin.same_boot,
            attempt: 0,
            deadline: None,
            guest: None,
            restarts: Restarts::default(),
            retries: 0,
            cancelled: false,
            is_lease_lost: false,
            reported: None,
        }
    }

    /// Takes in what happened and appends what is to be done, in order.
    pub fn step(&mut self, now: BootInstant, input: Input, out: &mut Vec<Effect>) {
        let before = self.durable.clone();
        let mut effects = Vec::new();
        self.take(now, input, &mut effects);
        if self.durable != before && self.phase != Phase::Gone {
            out.push(Effect::Save(self.durable.clone()));
        }
        out.append(&mut effects);
        self.tell(out);
    }

    /// When [`Input::Tick`] is due.
    pub const fn next_deadline(&self) -> Option<BootInstant> {
        self.deadline
    }

    /// The part that must survive.
    pub const fn durable(&self) -> &Durable {
        &self.durable
    }

    /// The task at work.
    pub const fn task(&self) -> Option<Task> {
        self.task
    }

    /// The name of the phase it is in, for logs and tests.
    pub const fn phase_name(&self) -> &'static str {
        match &self.phase {
            Phase::Settling => "settling",
            Phase::Creating => "creating",
            Phase::Unmaking { .. } => "unmaking",
            Phase::Stopped => "stopped",
            Phase::Leasing => "leasing",
            Phase::Preparing => "preparing",
            Phase::Spawning => "spawning",
            Phase::Resuming => "resuming",
            Phase::Adopting => "adopting",
            Phase::Running => "running",
            Phase::ShuttingDown { .. } => "shutting-down",
            Phase::Quitting => "quitting",
            Phase::Ending { .. } => "ending",
            Phase::Removing { then: Then::Rest } => "removing",
            Phase::Removing { then: Then::Undo(_) } => "removing-undo",
            Phase::Removing { then: Then::Again } => "removing-again",
            Phase::Backoff => "backoff",
            Phase::Failed => "failed",
            Phase::Deleting { stage: Stage::Units } => "deleting-units",
            Phase::Deleting { stage: Stage::Volumes } => "deleting-volumes",
            Phase::Deleting { stage: Stage::Spec } => "deleting-spec",
            Phase::Gone => "gone",
        }
    }

    /// Whether the answer of this step of this attempt is still awaited; what an older one brought is to be thrown away.
    pub fn awaits(&self, step: Step, attempt: u32) -> bool {
        attempt == self.attempt && self.inflight.contains(&step)
    }

    /// Whether descriptors of volumes and taps are wanted; what comes in otherwise is to be closed.
    pub fn wants_descriptors(&self) -> bool {
        self.phase == Phase::Preparing
    }

    /// Whether the system's memory is spoken for.
    pub const fn holds_memory(&self) -> bool {
        !matches!(
            self.phase,
            Phase::Creating
                | Phase::Unmaking { .. }
                | Phase::Stopped
                | Phase::Leasing
                | Phase::Backoff
                | Phase::Failed
                | Phase::Deleting { .. }
                | Phase::Gone
        )
    }

    /// Whether a system that runs under a lease needs it: it may run, or is about to. Also while it is not known yet what of it
    /// runs.
    pub fn needs_lease(&self) -> bool {
        match self.phase {
            Phase::Settling => self.durable.is_on(),
            Phase::Leasing => true,
            _ => self.holds_memory(),
        }
    }

    /// The lease under which it runs was lost: its guest is ended, or has been. That is no accident that counts as one of the
    /// restarts: it runs again when it has a lease again, however often that happens.
    pub const fn lease_lost(&mut self) {
        self.is_lease_lost = self.holds_memory();
    }

    /// Whether QEMU's unit ought to be there, so that its absence is an event and not a matter of course.
    pub fn expects_units(&self) -> bool {
        match self.phase {
            Phase::Spawning => !self.inflight.contains(&Step::SpawnQemu),
            Phase::Resuming | Phase::Adopting | Phase::Running | Phase::ShuttingDown { .. } | Phase::Quitting => true,
            _ => false,
        }
    }

    /// What the world shall read; nothing before the system has settled and after it is gone.
    pub fn report(&self) -> Option<Report> {
        Some(Report {
            state: self.state()?,
            intent: self.durable.power,
            reason: self.durable.reason.clone(),
            exit: self.durable.exit,
        })
    }

    fn state(&self) -> Option<SystemState> {
        Some(match &self.phase {
            Phase::Settling | Phase::Gone => return None,
            Phase::Creating => SystemState::Creating,
            Phase::Stopped => SystemState::Stopped,
            Phase::Leasing | Phase::Preparing | Phase::Spawning | Phase::Resuming | Phase::Backoff => {
                SystemState::Starting
            }
            Phase::Removing { then: Then::Again } if self.durable.is_on() => SystemState::Starting,
            Phase::Adopting | Phase::Running if self.guest == Some(Guest::Paused) => SystemState::Paused,
            Phase::Adopting if self.task.is_some() => SystemState::Starting,
            Phase::Adopting | Phase::Running => SystemState::Running,
            Phase::ShuttingDown { .. } | Phase::Quitting | Phase::Ending { .. } | Phase::Removing { .. } => {
                SystemState::Stopping
            }
            Phase::Failed => SystemState::Failed,
            Phase::Unmaking { .. } | Phase::Deleting { .. } => SystemState::Deleting,
        })
    }

    fn tell(&mut self, out: &mut Vec<Effect>) {
        let report = self.report();
        if report != self.reported {
            out.extend(report.clone().map(Effect::Report));
            self.reported = report;
        }
    }

    fn take(&mut self, now: BootInstant, input: Input, out: &mut Vec<Effect>) {
        match input {
            Input::Begin(task) => self.begin(now, task, out),
            Input::Cancel => self.cancel(now, out),
            Input::Done { step, attempt, result } => {
                if attempt == self.attempt && self.inflight.remove(&step) {
                    self.done(now, step, result, out);
                }
            }
            Input::Units { qemu, vmm } => self.units(now, qemu, &vmm, out),
            Input::Machine(guest) => self.machine(now, guest, out),
            Input::SpecGone => self.spec_gone(out),
            Input::Tick => {
                if self.deadline.is_some_and(|deadline| deadline <= now) {
                    self.deadline = None;
                    self.tick(now, out);
                }
            }
        }
    }

    fn begin(&mut self, now: BootInstant, task: Task, out: &mut Vec<Effect>) {
        let crate::Verdict::Begin { cancels } = self.admit(task) else { return };
        if cancels.is_some() {
            self.finish(Err(Failure::new(Code::Cancelled, format!("system {} was stopped meanwhile", self.name))), out);
        }
        self.task = Some(task);
        match task {
            Task::Create => {}
            Task::Start => self.begin_start(out),
            Task::Stop => self.begin_stop(now, out),
            Task::Shutdown { timeout, force } => self.begin_shutdown(now, timeout, force, out),
            Task::Delete => self.begin_delete(out),
        }
    }

    fn cancel(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        match self.task {
            Some(Task::Create) => self.cancelled = true,
            Some(Task::Start) => self.cancel_start(now, out),
            Some(Task::Shutdown { .. }) => self.cancel_shutdown(out),
            Some(Task::Stop | Task::Delete) | None => {}
        }
    }

    fn done(&mut self, now: BootInstant, step: Step, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        let result = result.map_err(|failure| failure.context(step.failed()));
        match &self.phase {
            Phase::Creating => self.done_creating(now, result, out),
            Phase::Leasing => self.done_leasing(now, result, out),
            Phase::Preparing => self.done_preparing(now, result, out),
            Phase::Spawning => self.done_spawning(now, result, out),
            Phase::Resuming => self.done_resuming(now, step, result, out),
            Phase::Adopting | Phase::Running => self.done_running(now, step, result),
            Phase::ShuttingDown { .. } => self.done_shutting_down(now, step, result, out),
            Phase::Quitting => self.done_quitting(step, result, out),
            Phase::Removing { .. } => self.done_removing(now, step, result, out),
            Phase::Unmaking { .. } | Phase::Deleting { .. } => self.done_deleting(now, step, result, out),
            Phase::Settling | Phase::Stopped | Phase::Ending { .. } | Phase::Backoff | Phase::Failed | Phase::Gone => {}
        }
    }

    fn units(&mut self, now: BootInstant, qemu: Sight, vmm: &Sight, out: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Settling => self.settle(now, qemu, vmm, out),
            Phase::Stopped if qemu == Sight::Alive => self.remove(Then::Rest, out),
            Phase::Spawning | Phase::Resuming => self.units_starting(&qemu, vmm, out),
            Phase::Adopting | Phase::Running | Phase::ShuttingDown { .. } => self.units_running(now, qemu, vmm, out),
            Phase::Quitting if matches!(qemu, Sight::Ended(_) | Sight::Absent) => self.remove(Then::Rest, out),
            Phase::Quitting
            | Phase::Creating
            | Phase::Unmaking { .. }
            | Phase::Stopped
            | Phase::Leasing
            | Phase::Preparing
            | Phase::Ending { .. }
            | Phase::Removing { .. }
            | Phase::Backoff
            | Phase::Failed
            | Phase::Deleting { .. }
            | Phase::Gone => {}
        }
    }

    fn machine(&mut self, now: BootInstant, guest: Guest, out: &mut Vec<Effect>) {
        if !self.listens() {
            return;
        }
        self.guest = Some(guest);
        match &self.phase {
            Phase::Spawning => self.machine_spawning(now, guest, out),
            Phase::Resuming => self.machine_resuming(now, guest, out),
            Phase::Adopting => self.machine_adopting(now, guest, out),
            Phase::Running => self.machine_running(now, guest, out),
            Phase::Ending { exit } if guest.is_over() => {
                let exit = exit.clone();
                self.conclude(&exit, out);
            }
            _ => {}
        }
    }

    /// Whether what the machine monitor says still matters.
    const fn listens(&self) -> bool {
        matches!(
            self.phase,
            Phase::Spawning
                | Phase::Resuming
                | Phase::Adopting
                | Phase::Running
                | Phase::ShuttingDown { .. }
                | Phase::Quitting
                | Phase::Ending { .. }
        )
    }

    fn spec_gone(&mut self, out: &mut Vec<Effect>) {
        self.orphan = true;
        match &self.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff => self.vanish(out),
            Phase::Creating if self.inflight.is_empty() => self.vanish(out),
            Phase::Leasing | Phase::Preparing => self.give_up_preparing(out),
            _ => {}
        }
    }

    fn tick(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Creating => self.perform(Step::MakeVolumes, out),
            Phase::Preparing | Phase::Spawning | Phase::Resuming => self.start_timed_out(now, out),
            Phase::Adopting => self.adoption_timed_out(out),
            Phase::Running => self.tick_running(out),
            Phase::ShuttingDown { .. } => self.tick_shutting_down(now, out),
            Phase::Quitting => self.remove(Then::Rest, out),
            Phase::Ending { exit } => {
                let exit = exit.clone();
                self.conclude(&exit, out);
            }
            Phase::Removing { .. } => self.perform(Step::RemoveUnits, out),
            Phase::Backoff => self.prepare(out),
            Phase::Unmaking { .. } | Phase::Deleting { .. } => self.tick_deleting(out),
            Phase::Settling | Phase::Stopped | Phase::Leasing | Phase::Failed | Phase::Gone => {}
        }
    }

    fn perform(&mut self, step: Step, out: &mut Vec<Effect>) {
        if self.inflight.insert(step) {
            out.push(Effect::Perform { step, attempt: self.attempt });
        }
    }

    fn finish(&mut self, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        if let Some(task) = self.task.take() {
            out.push(Effect::Finish { task, result });
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.deadline = None;
        self.retries = 0;
    }
}
