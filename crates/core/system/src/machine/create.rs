//! Creating and deleting: volumes and the declaration.

use acp_base::{BootInstant, Code, Failure, Retry};
use acp_wire_model::system::PowerIntent;

use super::{Phase, Stage};
use crate::{Effect, Step, System, Task, policy};

impl System {
    pub(super) fn done_creating(&mut self, now: BootInstant, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        if self.orphan {
            return self.unmake(Failure::new(Code::Cancelled, "its declaration was deleted meanwhile"), out);
        }
        match result {
            _ if self.cancelled => self.unmake(Failure::new(Code::Cancelled, "cancelled; everything is undone"), out),
            Ok(()) => {
                self.durable.made = true;
                self.durable.reason = String::new();
                self.finish(Ok(()), out);
                self.rest(out);
            }
            Err(failure) if self.task == Some(Task::Create) => self.unmake(failure, out),
            Err(failure) => {
                self.durable.reason = failure.message;
                self.deadline = Some(now + policy::MAKE_AGAIN_PAUSE);
            }
        }
    }

    /// Undoes the creation: deletes what was made, then the declaration. Durable first, so that it is gone on with.
    pub(super) fn unmake(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        self.durable.deleting = true;
        self.durable.reason = failure.message.clone();
        self.enter(Phase::Unmaking { failure });
        out.push(Effect::Progress("undoing"));
        self.perform(Step::DeleteVolumes, out);
    }

    pub(super) fn begin_delete(&mut self, out: &mut Vec<Effect>) {
        self.durable.deleting = true;
        self.durable.power = PowerIntent::Off;
        self.durable.reason = String::new();
        if matches!(self.phase, Phase::Deleting { .. }) {
            return;
        }
        self.enter(Phase::Deleting { stage: Stage::Units });
        out.push(Effect::Progress("removing units"));
        self.perform(Step::RemoveUnits, out);
    }

    pub(super) fn done_deleting(
        &mut self,
        now: BootInstant,
        step: Step,
        result: Result<(), Failure>,
        out: &mut Vec<Effect>,
    ) {
        match (step, result) {
            (Step::RemoveUnits, Ok(())) => self.delete_volumes(out),
            (Step::DeleteVolumes, Ok(())) => self.delete_spec(out),
            (Step::DeleteSpec, Ok(())) => self.deleted(out),
            (Step::DeleteSpec, Err(failure)) if failure.code == Code::NotFound => self.deleted(out),
            (Step::DeleteVolumes, Err(failure)) if self.may_give_up(&failure) => self.give_up_deleting(failure, out),
            (Step::RemoveUnits | Step::DeleteVolumes | Step::DeleteSpec, Err(failure)) => {
                self.retry_later(now, failure)
            }
            _ => {}
        }
    }

    /// A volume that something else depends on is the operator's to free: the system stays. An undo has nobody to ask.
    fn may_give_up(&self, failure: &Failure) -> bool {
        failure.retry == Retry::Never && matches!(self.phase, Phase::Deleting { .. }) && !self.orphan
    }

    fn give_up_deleting(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        self.durable.deleting = false;
        self.durable.reason = failure.message.clone();
        self.finish(Err(failure), out);
        self.enter(Phase::Stopped);
    }

    fn delete_volumes(&mut self, out: &mut Vec<Effect>) {
        self.enter(Phase::Deleting { stage: Stage::Volumes });
        out.push(Effect::Progress("deleting disks"));
        self.perform(Step::DeleteVolumes, out);
    }

    fn delete_spec(&mut self, out: &mut Vec<Effect>) {
        if let Phase::Deleting { .. } = self.phase {
            self.enter(Phase::Deleting { stage: Stage::Spec });
        }
        out.push(Effect::Progress("deleting the declaration"));
        self.perform(Step::DeleteSpec, out);
    }

    fn deleted(&mut self, out: &mut Vec<Effect>) {
        let result = match &self.phase {
            Phase::Unmaking { failure } => Err(failure.clone()),
            _ => Ok(()),
        };
        self.finish(result, out);
        self.vanish(out);
    }

    pub(super) fn tick_deleting(&mut self, out: &mut Vec<Effect>) {
        let step = match &self.phase {
            Phase::Deleting { stage: Stage::Units } => Step::RemoveUnits,
            Phase::Deleting { stage: Stage::Spec } => Step::DeleteSpec,
            _ => Step::DeleteVolumes,
        };
        self.perform(step, out);
    }

    /// A step of removing that failed is tried again, each time after a longer pause; until then one is told why.
    pub(super) fn retry_later(&mut self, now: BootInstant, failure: Failure) {
        self.durable.reason = failure.message;
        self.deadline = Some(now + policy::retry_pause(self.retries));
        self.retries += 1;
    }

    /// The end: nothing of the system is kept.
    pub(super) fn vanish(&mut self, out: &mut Vec<Effect>) {
        self.finish(Err(Failure::new(Code::Cancelled, "its declaration was deleted meanwhile")), out);
        self.enter(Phase::Gone);
        out.push(Effect::ForgetMachine);
        out.push(Effect::Forget);
    }
}
