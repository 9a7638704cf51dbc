//! From stopped to running: the lease, then limits, volumes and taps at once, then both units at once, QMP, and the processors.

use acp_base::{BootInstant, Code, Failure};
use acp_wire_model::system::{ExitReason, PowerIntent};

use super::{Phase, Then};
use crate::{Effect, Guest, Sight, Step, System, exit, policy};

impl System {
    pub(super) fn begin_start(&mut self, out: &mut Vec<Effect>) {
        self.durable.power = PowerIntent::On;
        self.restarts.clear();
        match &mut self.phase {
            Phase::Stopped | Phase::Failed | Phase::Backoff => self.prepare(out),
            Phase::Removing { then } => *then = Then::Rest,
            _ => {}
        }
    }

    pub(super) fn prepare(&mut self, out: &mut Vec<Effect>) {
        self.attempt += 1;
        self.inflight.clear();
        self.guest = None;
        self.is_lease_lost = false;
        self.durable.reason = String::new();
        self.enter(Phase::Leasing);
        self.perform(Step::TakeLease, out);
    }

    pub(super) fn done_leasing(&mut self, now: BootInstant, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        if let Err(failure) = result {
            return self.undone(now, failure, out);
        }
        self.enter(Phase::Preparing);
        self.deadline = Some(now + policy::PREPARE_MAX);
        out.push(Effect::Progress("opening disks and network interfaces"));
        for step in [Step::CheckLimits, Step::OpenVolumes, Step::OpenTaps] {
            self.perform(step, out);
        }
    }

    pub(super) fn done_preparing(&mut self, now: BootInstant, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        match result {
            Err(failure) => self.start_failed(now, failure, out),
            Ok(()) if self.inflight.is_empty() => self.spawn(now, out),
            Ok(()) => {}
        }
    }

    fn spawn(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        self.enter(Phase::Spawning);
        self.deadline = Some(now + policy::QMP_READY_MAX);
        out.push(Effect::Progress("starting QEMU"));
        self.perform(Step::SpawnQemu, out);
        self.perform(Step::SpawnVmm, out);
        out.push(Effect::WatchMachine);
    }

    pub(super) fn done_spawning(&mut self, now: BootInstant, result: Result<(), Failure>, out: &mut Vec<Effect>) {
        match result {
            Err(failure) => self.remove(Then::Undo(failure), out),
            Ok(()) => self.resume_when_ready(now, out),
        }
    }

    pub(super) fn machine_spawning(&mut self, now: BootInstant, guest: Guest, out: &mut Vec<Effect>) {
        match guest {
            Guest::Connecting => {}
            Guest::Prelaunch | Guest::Running | Guest::Paused => self.resume_when_ready(now, out),
            Guest::Off { .. } | Guest::Gone { .. } => self.expect_end(now),
        }
    }

    fn resume_when_ready(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        if self.is_spawning() {
            return;
        }
        match self.guest {
            Some(Guest::Prelaunch | Guest::Paused) => self.resume(now, out),
            Some(Guest::Running) => self.running(out),
            Some(Guest::Connecting | Guest::Off { .. } | Guest::Gone { .. }) | None => {}
        }
    }

    pub(super) fn resume(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        self.enter(Phase::Resuming);
        self.deadline = Some(now + policy::RESUME_MAX);
        self.perform(Step::Resume, out);
    }

    pub(super) fn done_resuming(
        &mut self,
        _now: BootInstant,
        step: Step,
        result: Result<(), Failure>,
        out: &mut Vec<Effect>,
    ) {
        match (step, result) {
            (Step::Resume, Ok(())) => {
                self.guest = Some(Guest::Running);
                self.running(out);
            }
            (Step::Resume, Err(failure)) => self.remove(Then::Undo(failure), out),
            _ => {}
        }
    }

    pub(super) fn machine_resuming(&mut self, now: BootInstant, guest: Guest, out: &mut Vec<Effect>) {
        match guest {
            Guest::Running => self.running(out),
            Guest::Off { .. } | Guest::Gone { .. } => self.expect_end(now),
            Guest::Connecting | Guest::Prelaunch | Guest::Paused => {}
        }
    }

    /// QMP is gone, so QEMU's end is about to be seen; if it is not, the start has failed all the same.
    fn expect_end(&mut self, now: BootInstant) {
        let soon = now + policy::LAST_WORD_MAX;
        self.deadline = Some(self.deadline.map_or(soon, |deadline| deadline.min(soon)));
    }

    pub(super) fn units_starting(&mut self, qemu: &Sight, vmm: &Sight, out: &mut Vec<Effect>) {
        let qemu_spawned = !self.inflight.contains(&Step::SpawnQemu);
        let vmm_spawned = !self.inflight.contains(&Step::SpawnVmm);
        let ended = match (qemu, vmm) {
            (Sight::Ended(exit), _) if qemu_spawned => Some(("QEMU", "qemu", exit)),
            (_, Sight::Ended(exit)) if vmm_spawned => Some(("its machine monitor", "vmm", exit)),
            _ => None,
        };
        if let Some((what, unit, exit)) = ended {
            let why = format!("{what} ended before the guest ran: {}", exit::describe(exit));
            let hint = format!("its log says more: acpctl service log {unit}@{}", self.uid.simple());
            let code = if exit.out_of_memory { Code::ResourceExhausted } else { Code::Unavailable };
            self.remove(Then::Undo(Failure::new(code, format!("{why}; {hint}"))), out);
        }
    }

    pub(super) fn start_timed_out(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        let what = match (&self.phase, self.guest) {
            (Phase::Preparing, _) => "limits, disks and network interfaces were not ready in time",
            (_, Some(Guest::Gone { .. } | Guest::Off { .. })) => "QEMU closed its monitor before the guest ran",
            (Phase::Resuming, _) => "QEMU did not let the processors run in time",
            _ => "QEMU did not answer on QMP in time",
        };
        self.start_failed(now, Failure::new(Code::DeadlineExceeded, what), out);
    }

    fn start_failed(&mut self, now: BootInstant, failure: Failure, out: &mut Vec<Effect>) {
        if self.phase == Phase::Preparing {
            self.undone(now, failure, out);
        } else {
            self.remove(Then::Undo(failure), out);
        }
    }

    /// Everything a failed start had done is undone. An operator's start takes its intent back; a start by policy counts
    /// as one of the restarts.
    pub(super) fn undone(&mut self, now: BootInstant, failure: Failure, out: &mut Vec<Effect>) {
        self.durable.exit = Some(ExitReason::StartFailed);
        self.durable.reason = failure.message.clone();
        if self.task.is_some() {
            self.durable.power = PowerIntent::Off;
            self.finish(Err(failure), out);
            return self.halt(out);
        }
        self.again(now, out);
    }

    /// Starts again after a pause, or not any more.
    pub(super) fn again(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        if self.orphan {
            return self.vanish(out);
        }
        if self.is_lease_lost {
            return self.rest(out);
        }
        match self.restarts.allow(now) {
            Some(pause) => {
                self.enter(Phase::Backoff);
                self.deadline = Some(now + pause);
            }
            None => {
                let times = policy::RESTARTS_MAX;
                let minutes = policy::RESTART_WINDOW.as_secs() / 60;
                self.durable.reason = format!(
                    "{}; not restarted again after {times} restarts within {minutes} minutes",
                    self.durable.reason
                );
                self.enter(Phase::Failed);
            }
        }
    }

    pub(super) fn cancel_start(&mut self, now: BootInstant, out: &mut Vec<Effect>) {
        self.durable.power = PowerIntent::Off;
        match &self.phase {
            Phase::Leasing | Phase::Preparing => self.give_up_preparing(out),
            Phase::Spawning | Phase::Resuming => self.remove(Then::Rest, out),
            Phase::Adopting => self.quit(now, out),
            _ => {}
        }
    }

    pub(super) fn give_up_preparing(&mut self, out: &mut Vec<Effect>) {
        self.durable.power = PowerIntent::Off;
        self.rest(out);
    }

    /// Whether a unit is being spawned; units must not be removed then, for the removal could overtake the spawning.
    pub(super) fn is_spawning(&self) -> bool {
        self.inflight.contains(&Step::SpawnQemu) || self.inflight.contains(&Step::SpawnVmm)
    }
}
