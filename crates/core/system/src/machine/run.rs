//! While the guest has its processors: adoption's end, the monitor's words, shutdown.

use std::time::Duration;

use acp_base::{BootInstant, Change, Code, Failure};
use acp_wire_model::{system::PowerIntent, unit::UnitExit};

use super::{Phase, Then};
use crate::{Effect, Guest, Sight, Step, System, Task, policy};

const LOST: UnitExit = UnitExit { status: None, signal: None, out_of_memory: false, lost: true };

impl System {
    pub(super) fn running(&mut self, out: &mut Vec<Effect>) {
        self.enter(Phase::Running);
        self.durable.reason = String::new();
        self.finish(Ok(()), out);
    }

    pub(super) fn machine_adopting(&mut self, now: BootInstant, guest: Guest, out: &mut Vec<Effect>) {
        match guest {
            Guest::Running | Guest::Paused => self.running(out),
            Guest::Prelaunch => self.resume(now, out),
            Guest::Connecting | Guest::Off { .. } | Guest::Gone { .. } => {}
        }
    }

    /// QEMU runs and does not answer. Its guest may be alive, so it is left alone.
    pub(super) fn adoption_timed_out(&mut self, out: &mut Vec<Effect>) {
        let why = "QEMU runs and does not answer on QMP; its guest was left alone";
        self.finish(Err(Failure::new(Code::DeadlineExceeded, why).changed(Change::Partial)), out);
        self.enter(Phase::Running);
        self.durable.reason = why.to_owned();
    }

    pub(super) fn machine_running(&mut self, now: BootInstant, guest: Guest, out: &mut Vec<Effect>) {
        match guest {
            Guest::Prelaunch => self.perform(Step::Resume, out),
            Guest::Running | Guest::Paused => self.durable.reason = String::new(),
            Guest::Off { .. } => self.deadline = Some(now + policy::POWERED_OFF_MAX),
            Guest::Connecting | Guest::Gone { .. } => {}
        }
    }

    pub(super) fn units_running(&mut self, now: BootInstant, qemu: Sight, vmm: &Sight, out: &mut Vec<Effect>) {
        match qemu {
            Sight::Ended(exit) => return self.ended(now, exit, out),
            Sight::Absent => return self.ended(now, LOST, out),
            Sight::Alive | Sight::Leaving => {}
        }
        let vmm_gone = matches!(vmm, Sight::Ended(_) | Sight::Absent) && !self.inflight.contains(&Step::SpawnVmm);
        if vmm_gone && self.phase == Phase::Running && self.deadline.is_none() {
            self.deadline = Some(now + policy::VMM_PAUSE);
        }
    }

    /// Either the guest is off and QEMU does not end, or the monitor is gone and is to be spawned again.
    pub(super) fn tick_running(&mut self, out: &mut Vec<Effect>) {
        match self.guest {
            Some(Guest::Off { by_guest }) => {
                if by_guest {
                    self.durable.power = PowerIntent::Off;
                    self.durable.exit = Some(acp_wire_model::system::ExitReason::GuestPoweroff);
                    self.durable.reason = "the guest powered off".to_owned();
                }
                self.remove(Then::Again, out);
            }
            _ => self.perform(Step::SpawnVmm, out),
        }
    }

    pub(super) fn done_running(&mut self, now: BootInstant, step: Step, result: Result<(), Failure>) {
        if let (Step::SpawnVmm, Err(failure)) = (step, result)
            && self.phase == Phase::Running
        {
            self.durable.reason = failure.message;
            self.deadline = Some(now + policy::retry_pause(self.retries));
            self.retries += 1;
        }
    }

    pub(super) fn begin_shutdown(&mut self, now: BootInstant, timeout: Duration, force: bool, out: &mut Vec<Effect>) {
        if self.phase != Phase::Running {
            return self.begin_stop(now, out);
        }
        self.durable.power = PowerIntent::Off;
        self.press(now, timeout, force, out);
    }

    pub(super) fn press(&mut self, now: BootInstant, timeout: Duration, force: bool, out: &mut Vec<Effect>) {
        let until = now + timeout;
        self.enter(Phase::ShuttingDown { until, timeout, force });
        self.deadline = Some(until.min(now + policy::POWER_BUTTON_EVERY));
        out.push(Effect::Progress("waiting for the guest to power off"));
        self.perform(Step::Powerdown, out);
    }

    pub(super) fn tick_shutting_down(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        let Phase::ShuttingDown { until, timeout, force } = self.phase else { return };
        if now < until {
            self.deadline = Some(until.min(now + policy::POWER_BUTTON_EVERY));
            return self.perform(Step::Powerdown, out);
        }
        if force || self.guest.is_some_and(Guest::is_over) {
            self.durable.exit = Some(acp_wire_model::system::ExitReason::Stopped);
            return self.quit(now, out);
        }
        let why = format!(
            "the guest of system {name} did not power off within {} s and runs on; end it with: acpctl system stop {name}",
            timeout.as_secs(),
            name = self.name
        );
        self.run_on(Failure::new(Code::DeadlineExceeded, why), out);
    }

    /// The shutdown has failed: the system runs on, as before.
    fn run_on(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        self.durable.power = PowerIntent::On;
        self.enter(Phase::Running);
        self.finish(Err(failure), out);
    }

    pub(super) fn done_shutting_down(
        &mut self,
        now: BootInstant,
        step: Step,
        result: Result<(), Failure>,
        out: &mut Vec<Effect>,
    ) {
        let (Step::Powerdown, Err(failure), Phase::ShuttingDown { force, .. }) = (step, result, &self.phase) else {
            return;
        };
        match (force, self.guest) {
            (_, Some(Guest::Off { .. } | Guest::Gone { .. })) => {}
            (true, _) => self.quit(now, out),
            (false, _) => self.run_on(failure, out),
        }
    }

    pub(super) fn cancel_shutdown(&mut self, out: &mut Vec<Effect>) {
        if let (Phase::ShuttingDown { .. }, Some(Task::Shutdown { .. })) = (&self.phase, self.task) {
            self.run_on(Failure::new(Code::Cancelled, "cancelled; the guest may power off all the same"), out);
        }
    }
}
