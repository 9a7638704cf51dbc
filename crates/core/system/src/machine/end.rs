//! From running to stopped: being stopped, ending by itself, and the removal of the units.

use acp_base::{BootInstant, Code, Failure};
use acp_wire_model::{
    system::{ExitReason, PowerIntent},
    unit::UnitExit,
};

use super::{Phase, Then};
use crate::{Effect, Guest, Step, System, Task, exit, policy};

impl System {
    pub(super) fn begin_stop(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        self.durable.power = PowerIntent::Off;
        if self.guest.is_some_and(Guest::answers) {
            self.durable.exit = Some(ExitReason::Stopped);
        }
        match &mut self.phase {
            Phase::Leasing | Phase::Preparing | Phase::Backoff | Phase::Failed => self.rest(out),
            Phase::Spawning => self.remove(Then::Rest, out),
            Phase::Resuming | Phase::Adopting | Phase::Running | Phase::ShuttingDown { .. } => self.quit(now, out),
            Phase::Removing { then } => *then = Then::Rest,
            _ => {}
        }
    }

    /// Tells QEMU to end if it listens, else removes its unit at once.
    pub(super) fn quit(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        if !self.guest.is_some_and(Guest::answers) {
            return self.remove(Then::Rest, out);
        }
        self.enter(Phase::Quitting);
        self.deadline = Some(now + policy::QUIT_MAX);
        out.push(Effect::Progress("ending QEMU"));
        self.perform(Step::Quit, out);
    }

    pub(super) fn done_quitting(&mut self, step: Step, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        if step == Step::Quit && result.is_err() {
            self.remove(Then::Rest, out);
        }
    }

    /// QEMU has ended though nobody here ended it.
    pub(super) fn ended(&mut self, now: BootInstant, exit: UnitExit, out: &mut Vec<Effect>) {
        if !exit::needs_last_word(&exit, self.guest) {
            return self.conclude(&exit, out);
        }
        self.enter(Phase::Ending { exit });
        self.deadline = Some(now + policy::LAST_WORD_MAX);
    }

    /// Decides why QEMU ended and what comes after. A guest that powered itself off wanted to be off.
    pub(super) fn conclude(&mut self, exit: &UnitExit, out: &mut Vec<Effect>) {
        let reason = self.judge(exit);
        self.durable.exit = Some(reason);
        self.durable.reason = match reason {
            ExitReason::Killed if self.is_lease_lost => "QEMU was killed because its lease was lost".to_owned(),
            reason => exit::sentence(reason, exit),
        };
        if reason == ExitReason::GuestPoweroff && self.task != Some(Task::Start) {
            self.durable.power = PowerIntent::Off;
        }
        self.remove(if self.task.is_some() { Then::Rest } else { Then::Again }, out);
    }

    /// Why it ended. One that was asked to power off and ended in good order has done so, also if nobody heard it say so.
    pub(super) fn judge(&self, exit: &UnitExit) -> ExitReason {
        match exit::classify(exit, self.guest) {
            ExitReason::Killed if exit.status == Some(0) && matches!(self.task, Some(Task::Shutdown { .. })) => {
                ExitReason::GuestPoweroff
            }
            reason => reason,
        }
    }

    /// Removes both units, as soon as none is being spawned.
    pub(super) fn remove(&mut self, then: Then, out: &mut Vec<Effect>) {
        self.enter(Phase::Removing { then });
        if !self.is_spawning() {
            self.perform(Step::RemoveUnits, out);
        }
    }

    pub(super) fn done_removing(
        &mut self,
        now: BootInstant,
        step: Step,
        result: Result<(), Failure>,
        out: &mut Vec<Effect>,
    ) {
        match (step, result) {
            (Step::SpawnQemu | Step::SpawnVmm, _) if !self.is_spawning() => self.perform(Step::RemoveUnits, out),
            (Step::RemoveUnits, Ok(())) => self.removed(now, out),
            (Step::RemoveUnits, Err(failure)) => self.retry_later(now, failure),
            _ => {}
        }
    }

    fn removed(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        out.push(Effect::ForgetMachine);
        self.guest = None;
        match (&self.phase, self.durable.is_on()) {
            (Phase::Removing { then: Then::Undo(failure) }, true) => {
                let failure = failure.clone();
                self.undone(now, failure, out);
            }
            (Phase::Removing { then: Then::Again }, true) if self.task.is_none() => self.again(now, out),
            _ => self.rest(out),
        }
    }

    /// No unit exists: stays off or starts, as the power intent says.
    pub(super) fn rest(&mut self, out: &mut Vec<Effect>) {
        if self.orphan {
            return self.vanish(out);
        }
        if self.durable.is_on() {
            return self.prepare(out);
        }
        match self.task {
            Some(Task::Start | Task::Create) => {
                self.finish(Err(Failure::new(Code::Cancelled, "cancelled; everything is undone")), out);
            }
            Some(Task::Stop | Task::Shutdown { .. } | Task::Delete) | None => self.finish(Ok(()), out),
        }
        self.halt(out);
    }

    /// Stopped, and nothing else to be done.
    pub(super) fn halt(&mut self, out: &mut Vec<Effect>) {
        if self.orphan {
            return self.vanish(out);
        }
        if self.durable.exit == Some(ExitReason::Stopped) {
            self.durable.reason = String::new();
        }
        self.enter(Phase::Stopped);
    }
}
