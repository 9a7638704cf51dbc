//! Which task a system accepts in which state: the first half of the machine's table, without side effects.

use acp_base::{Code, Failure};

use crate::{
    System, Task,
    machine::{Phase, Then},
};

/// What becomes of a task that an operator asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It may begin.
    Begin {
        /// The task that ends for it.
        cancels: Option<Task>,
    },
    /// It is so already.
    Nothing,
    /// It cannot be decided yet; ask again after the next change.
    Wait,
    /// It may not, and nothing was changed.
    Refuse(Failure),
}

const BEGIN: Verdict = Verdict::Begin { cancels: None };

impl System {
    /// Whether this task may begin now. Changes nothing; feed [`crate::Input::Begin`] to begin.
    pub fn admit(&self, task: Task) -> Verdict {
        match &self.phase {
            Phase::Settling => return Verdict::Wait,
            Phase::Gone => {
                return Verdict::Refuse(Failure::not_found(format!("there is no system {:?}", self.name.as_str())));
            }
            _ if self.orphan && matches!(task, Task::Start | Task::Delete | Task::Create) => {
                return self
                    .refuse_with("is no longer declared; its guest runs on until it ends or you stop it", "stop");
            }
            _ => {}
        }
        match (self.task, task) {
            (Some(Task::Create), Task::Start) => Verdict::Wait,
            (Some(Task::Start | Task::Shutdown { .. }), Task::Stop) => Verdict::Begin { cancels: self.task },
            (Some(busy), _) => self.busy(busy),
            (None, Task::Create) => self.admit_create(),
            (None, Task::Start) => self.admit_start(),
            (None, Task::Stop) => self.admit_stop(),
            (None, Task::Shutdown { .. }) => self.admit_shutdown(),
            (None, Task::Delete) => self.admit_delete(),
        }
    }

    /// Whether the reset button can be pressed now.
    pub fn admit_reset(&self) -> Result<(), Failure> {
        match &self.phase {
            Phase::Running | Phase::ShuttingDown { .. } => Ok(()),
            _ => Err(Failure::precondition(format!("system {} is not running; there is nothing to reset", self.name))),
        }
    }

    fn admit_create(&self) -> Verdict {
        match &self.phase {
            Phase::Creating => BEGIN,
            Phase::Unmaking { .. } | Phase::Deleting { .. } => self.refuse("is being deleted"),
            _ => Verdict::Nothing,
        }
    }

    fn admit_start(&self) -> Verdict {
        match &self.phase {
            Phase::Creating => Verdict::Wait,
            Phase::Running => Verdict::Nothing,
            Phase::ShuttingDown { .. } => self.refuse("is shutting down; start it when it is off"),
            Phase::Unmaking { .. } | Phase::Deleting { .. } => self.refuse("is being deleted"),
            _ => BEGIN,
        }
    }

    fn admit_stop(&self) -> Verdict {
        match &self.phase {
            Phase::Creating | Phase::Stopped => Verdict::Nothing,
            Phase::Unmaking { .. } | Phase::Deleting { .. } => self.refuse("is being deleted"),
            _ => BEGIN,
        }
    }

    fn admit_shutdown(&self) -> Verdict {
        match &self.phase {
            Phase::Leasing | Phase::Preparing | Phase::Spawning | Phase::Resuming => {
                self.refuse_with("is still starting and does not hear its power button; stop it", "stop")
            }
            // The guest runs and its monitor is about to say so.
            Phase::Adopting => Verdict::Wait,
            Phase::ShuttingDown { .. } => self.refuse("is shutting down already"),
            _ => self.admit_stop(),
        }
    }

    fn admit_delete(&self) -> Verdict {
        match &self.phase {
            Phase::Stopped | Phase::Failed | Phase::Deleting { .. } => BEGIN,
            Phase::Creating if self.inflight.is_empty() => BEGIN,
            Phase::Creating | Phase::Removing { then: Then::Rest } => Verdict::Wait,
            Phase::Unmaking { .. } => self.refuse("is being deleted already"),
            _ => self.refuse_with("is not stopped; stop it first", "stop"),
        }
    }

    fn busy(&self, task: Task) -> Verdict {
        Verdict::Refuse(Failure::new(
            Code::Conflict,
            format!("system {} has a job at work, {}; wait for it or cancel it", self.name, task.verb()),
        ))
    }

    fn refuse(&self, why: &str) -> Verdict {
        Verdict::Refuse(Failure::precondition(format!("system {} {why}", self.name)))
    }

    fn refuse_with(&self, why: &str, verb: &str) -> Verdict {
        self.refuse(&format!("{why}: acpctl system {verb} {}", self.name))
    }
}
