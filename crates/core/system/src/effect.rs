//! What the machine asks for.

use std::time::Duration;

use acp_base::Failure;
use acp_wire_model::system::{ExitReason, PowerIntent, SystemState};

/// Something to be done, in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Makes this durable before anything that follows.
    Save(Durable),
    /// Starts a step; its end comes back as [`crate::Input::Done`] with the same attempt.
    Perform {
        /// Which.
        step: Step,
        /// Tells the answers of this attempt from those of an earlier one.
        attempt: u32,
    },
    /// Listens to the system's machine monitor, again and again, until [`Effect::ForgetMachine`].
    WatchMachine,
    /// Stops listening; what was still under way must not come in any more.
    ForgetMachine,
    /// Says what the job at work is doing.
    Progress(&'static str),
    /// A task has ended.
    Finish {
        /// Which.
        task: Task,
        /// How.
        result: Result<(), Failure>,
    },
    /// What the world shall read about the system has changed.
    Report(Report),
    /// The system is gone: nothing of it is kept.
    Forget,
}

/// One act of the driver. Every step is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Makes every volume of the spec.
    MakeVolumes,
    /// Gets the lease of a system that may run on several nodes; one that is pinned to this node needs none. It takes as long as
    /// it takes: how long a caller waits is up to the driver.
    TakeLease,
    /// Learns the accelerator and looks whether the host has the memory.
    CheckLimits,
    /// Opens every volume; the driver keeps the descriptors for [`Step::SpawnQemu`].
    OpenVolumes,
    /// Opens a tap for every interface; the driver keeps the descriptors for [`Step::SpawnQemu`].
    OpenTaps,
    /// Starts QEMU, its processors standing still.
    SpawnQemu,
    /// Starts the machine monitor, or starts it again.
    SpawnVmm,
    /// Lets the processors run.
    Resume,
    /// Presses the power button.
    Powerdown,
    /// Tells QEMU to end.
    Quit,
    /// Removes both units; whatever of them runs is killed.
    RemoveUnits,
    /// Deletes every volume of the spec that is there.
    DeleteVolumes,
    /// Deletes the declaration, if it is there.
    DeleteSpec,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 13] = [
        Self::MakeVolumes,
        Self::TakeLease,
        Self::CheckLimits,
        Self::OpenVolumes,
        Self::OpenTaps,
        Self::SpawnQemu,
        Self::SpawnVmm,
        Self::Resume,
        Self::Powerdown,
        Self::Quit,
        Self::RemoveUnits,
        Self::DeleteVolumes,
        Self::DeleteSpec,
    ];

    /// What could not be done when the step failed, to stand in front of why.
    pub const fn failed(self) -> &'static str {
        match self {
            Self::MakeVolumes => "its disks cannot be made",
            Self::TakeLease => "it has no lease",
            Self::CheckLimits => "the host cannot take it",
            Self::OpenVolumes => "its disks cannot be opened",
            Self::OpenTaps => "its network interfaces cannot be opened",
            Self::SpawnQemu => "QEMU cannot be started",
            Self::SpawnVmm => "its machine monitor cannot be started",
            Self::Resume => "its processors cannot be let run",
            Self::Powerdown => "its power button cannot be pressed",
            Self::Quit => "QEMU cannot be told to end",
            Self::RemoveUnits => "its units cannot be removed",
            Self::DeleteVolumes => "its disks cannot be deleted",
            Self::DeleteSpec => "its declaration cannot be deleted",
        }
    }
}

/// What an operator can ask of a system; the driver keeps a job for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make its disks.
    Create,
    /// Get it running.
    Start,
    /// End it at once.
    Stop,
    /// Ask the guest to power off.
    Shutdown {
        /// How long the guest may take.
        timeout: Duration,
        /// Whether it is stopped when the time is over.
        force: bool,
    },
    /// Remove it with its disks.
    Delete,
}

impl Task {
    /// The name of its job.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Create => "system-create",
            Self::Start => "system-start",
            Self::Stop => "system-stop",
            Self::Shutdown { .. } => "system-shutdown",
            Self::Delete => "system-delete",
        }
    }

    /// Whether it can be cancelled.
    pub const fn cancellable(self) -> bool {
        matches!(self, Self::Create | Self::Start | Self::Shutdown { .. })
    }

    /// Whether both are the same verb.
    pub fn same(self, other: Self) -> bool {
        self.verb() == other.verb()
    }
}

/// The part of the machine that outlives the process: without it the machine could not be built again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Whether the system should run.
    pub power: PowerIntent,
    /// Whether its volumes have been made.
    pub made: bool,
    /// Whether it is being deleted. Set before the first thing is deleted, never taken back after.
    pub deleting: bool,
    /// Why it last stopped running.
    pub exit: Option<ExitReason>,
    /// Why it is in its state, in a sentence; empty when there is nothing to say.
    pub reason: String,
}

impl Durable {
    /// A system that was just declared.
    pub const fn declared() -> Self {
        Self { power: PowerIntent::Off, made: false, deleting: false, exit: None, reason: String::new() }
    }

    /// Whether it should run.
    pub fn is_on(&self) -> bool {
        self.power == PowerIntent::On
    }
}

/// What the world shall read about the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is doing.
    pub state: SystemState,
    /// The power intent.
    pub intent: PowerIntent,
    /// Why, in a sentence.
    pub reason: String,
    /// Why it last stopped.
    pub exit: Option<ExitReason>,
}
