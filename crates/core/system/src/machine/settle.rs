//! From what was saved and what is observed to where the system stands: adoption.

use acp_base::{BootInstant, Code, Failure};
use acp_wire_model::{system::ExitReason, unit::UnitExit};

use super::{Phase, Stage, Then};
use crate::{Effect, Sight, Step, System, Task, policy};

impl System {
    pub(super) fn settle(&mut self, now: BootInstant, qemu: Sight, vmm: &Sight, out: &mut Vec<Effect>) {
        if self.durable.deleting {
            return self.settle_deleting(out);
        }
        if !self.durable.made && self.orphan {
            return self.unmake(Failure::new(Code::Cancelled, "its declaration was deleted meanwhile"), out);
        }
        if !self.durable.made {
            self.enter(Phase::Creating);
            return self.perform(Step::MakeVolumes, out);
        }
        if self.task == Some(Task::Create) {
            // All of it was done; only that had not been said when it was interrupted.
            self.finish(Ok(()), out);
        }
        match qemu {
            Sight::Leaving => {}
            Sight::Alive => self.settle_alive(now, vmm, out),
            Sight::Ended(exit) => self.settle_ended(now, exit, vmm, out),
            Sight::Absent if *vmm != Sight::Absent => self.remove(Then::Rest, out),
            Sight::Absent => self.settle_absent(now, out),
        }
    }

    fn settle_deleting(&mut self, out: &mut Vec<Effect>) {
        if self.task == Some(Task::Create) {
            // Only the sentence was kept, not the code. Whatever it was, something interrupted it, and asking again can help.
            let why = format!("{}; it was undone after an interruption", self.durable.reason);
            self.unmake(Failure::unavailable(why), out);
        } else {
            self.enter(Phase::Deleting { stage: Stage::Units });
            self.perform(Step::RemoveUnits, out);
        }
    }

    fn settle_alive(&mut self, now: BootInstant, vmm: &Sight, out: &mut Vec<Effect>) {
        if let Some(Task::Shutdown { timeout, force }) = self.task {
            out.push(Effect::WatchMachine);
            return self.press(now, timeout, force, out);
        }
        if !self.durable.is_on() {
            self.durable.exit = Some(ExitReason::Stopped);
            return self.remove(Then::Rest, out);
        }
        self.enter(Phase::Adopting);
        self.deadline = Some(now + policy::QMP_READY_MAX);
        out.push(Effect::WatchMachine);
        if *vmm != Sight::Alive {
            self.perform(Step::SpawnVmm, out);
        }
    }

    fn settle_ended(&mut self, now: BootInstant, exit: UnitExit, vmm: &Sight, out: &mut Vec<Effect>) {
        if !self.durable.is_on() {
            let by_itself = self.task != Some(Task::Stop);
            self.durable.exit = Some(if by_itself { self.judge(&exit) } else { ExitReason::Stopped });
            return self.remove(Then::Rest, out);
        }
        if *vmm == Sight::Alive {
            out.push(Effect::WatchMachine);
            return self.ended(now, exit, out);
        }
        self.conclude(&exit, out);
    }

    fn settle_absent(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        if !self.durable.is_on() || self.task.is_some() || !self.same_boot {
            return self.rest(out);
        }
        self.durable.exit = Some(ExitReason::Killed);
        self.durable.reason = "QEMU was gone when the hypervisor came back".to_owned();
        self.again(now, out);
    }
}
