//! What the machine is told.

use std::collections::BTreeSet;

use acp_base::Failure;
use acp_wire_model::unit::UnitExit;

use crate::{Step, Task};

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A task that [`crate::System::admit`] let through.
    Begin(Task),
    /// Somebody asked that the task at work ends without success.
    Cancel,
    /// A step has ended. Answers of an attempt that was given up are ignored.
    Done {
        /// Which.
        step: Step,
        /// The attempt it belonged to, as in [`crate::Effect::Perform`].
        attempt: u32,
        /// How it ended.
        result: Result<(), Failure>,
    },
    /// What the framework says of the system's two units, both at once. `Absent` must be certain: the driver asks again
    /// before it believes an event that a unit is gone.
    Units {
        /// The unit of QEMU.
        qemu: Sight,
        /// The unit of the machine monitor.
        vmm: Sight,
    },
    /// What the machine monitor says.
    Machine(Guest),
    /// The system's declaration is gone from the cluster database.
    SpecGone,
    /// The deadline named by [`crate::System::next_deadline`] has passed.
    Tick,
}

/// A unit as seen from here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// There is none.
    #[default]
    Absent,
    /// Its process runs or is about to.
    Alive,
    /// It was asked to end.
    Leaving,
    /// Its process has ended and is not started again.
    Ended(UnitExit),
}

/// What the machine monitor says of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// QMP does not answer yet.
    Connecting,
    /// QMP answers, the processors never ran.
    Prelaunch,
    /// The processors run.
    Running,
    /// The processors stand still.
    Paused,
    /// The machine is off; its process is about to end.
    Off {
        /// Whether the guest itself asked for it.
        by_guest: bool,
    },
    /// The connection to QEMU is gone.
    Gone {
        /// Whether the guest itself had powered off before.
        by_guest: bool,
    },
}

impl Guest {
    /// Whether this is the last that will be heard of this QEMU.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Off { .. } | Self::Gone { .. })
    }

    /// Whether QMP answers.
    pub const fn answers(self) -> bool {
        matches!(self, Self::Prelaunch | Self::Running | Self::Paused)
    }
}

/// The steps that were asked for and have not answered.
pub(crate) type Inflight = BTreeSet<Step>;
