//! The lease of the machine: the one task that owns its dead-man timer and does what is due.
//!
//! **Invariant**: from `pause_at` on the processors stand still, from `kill_at` on QEMU is gone, whoever else is alive. It holds
//! over a restart of this process (the timer is kept in a record) and over a suspended host (its clock is CLOCK_BOOTTIME). What
//! it cannot hold is a host without any vmm: then the hypervisor, which counts as well, removes QEMU's unit.

mod qemu;
mod record;

use std::{io, path::Path, time::Duration};

use acp_base::{BootInstant, Change, Code, Failure};
use acp_core_lease::{DeadMan, Deadlines, Due};
use acp_io_alarm::Alarm;
use acp_io_daemon::boot_now;
use acp_wire_api::vmm::{ExtendLeaseRequest, MachineState, MachineStatus};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tracing::{error, info, warn};

use self::{qemu::Qemu, record::Keep};
use crate::{
    ailments::{Ailments, Part},
    service::Machine,
};

/// Extensions that may wait; each asker waits for its own, and there is one hypervisor.
const EXTENSIONS_MAX: usize = 8;

/// The furthest that a lease may be extended from now: the longest session there is.
const AHEAD_MAX: Duration = Duration::from_secs(600);

/// How long QEMU may take to stop its processors or to let them run before it is asked again: it needs microseconds.
const ACT_LIMIT: Duration = Duration::from_millis(500);

/// The pause before what failed is tried again: short against the 1.5 s between pause and kill.
const AGAIN: Duration = Duration::from_millis(50);

const PAUSED: &str = "paused: its lease was not renewed in time; it goes on when the lease is renewed";
const KILLED: &str = "its lease has ended: QEMU was killed";

#[derive(Debug)]
struct Extension {
    deadlines: Deadlines,
    reply: oneshot::Sender<Result<(), Failure>>,
}

/// What the handlers hold.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    extensions: mpsc::Sender<Extension>,
    due: watch::Receiver<Due>,
}

impl Lease {
    /// Takes new deadlines, durably so far as this boot of the host goes.
    pub(crate) async fn extend(&self, request: ExtendLeaseRequest) -> Result<(), Failure> {
        let deadlines = read(request)?;
        let (reply, answer) = oneshot::channel();
        let ended = || Failure::unavailable("the vmm is stopping").changed(Change::Unknown);
        self.extensions.send(Extension { deadlines, reply }).await.map_err(|_unsent| ended())?;
        answer.await.map_err(|_dropped| ended())?
    }

    /// Whether the processors may be let run.
    pub(crate) fn may_run(&self) -> Result<(), Failure> {
        let due = *self.due.borrow();
        match due {
            Due::Run => Ok(()),
            Due::Pause | Due::Kill => Err(Failure::precondition("its lease was not renewed in time: it may not run")),
        }
    }
}

fn read(request: ExtendLeaseRequest) -> Result<Deadlines, Failure> {
    let ExtendLeaseRequest { term, pause_at_ms, kill_at_ms } = request;
    if pause_at_ms > kill_at_ms {
        return Err(Failure::invalid(format!("pause_at_ms: {pause_at_ms} is after kill_at_ms, {kill_at_ms}")));
    }
    let at = |millis: u64| BootInstant::from_nanos(millis.saturating_mul(1_000_000));
    let deadlines = Deadlines { term, pause_at: at(pause_at_ms), kill_at: at(kill_at_ms) };
    if deadlines.kill_at.since(boot_now()) > AHEAD_MAX {
        let most = AHEAD_MAX.as_secs();
        return Err(Failure::invalid(format!("kill_at_ms: {kill_at_ms} is more than {most} s ahead")));
    }
    Ok(deadlines)
}

/// Owns the timer.
#[derive(Debug)]
pub(crate) struct Keeper {
    timer: DeadMan,
    /// Whether the processors stand still because of the timer, and not because somebody else wanted it.
    has_paused: bool,
    /// When QEMU last did what it was told: what it says of itself comes a moment later.
    acted: BootInstant,
    alarm: Alarm,
    qemu: Qemu,
    keep: Keep,
    extensions: mpsc::Receiver<Extension>,
    machine: Machine,
    status: watch::Receiver<MachineStatus>,
    due: watch::Sender<Due>,
    ailments: Ailments,
}

impl Keeper {
    /// The timer of the machine of this instance, as an earlier life of this process left it; it does nothing before
    /// [`Self::run`].
    pub(crate) fn open(
        run: &Path,
        state: &Path,
        instance: &str,
        machine: &Machine,
        ailments: Ailments,
    ) -> io::Result<(Self, Lease)> {
        let qemu = Qemu::new(run, instance);
        let keep = Keep::new(state);
        let kept = keep.load(&qemu);
        let (timer, has_paused) = kept.map_or_else(Default::default, |(deadlines, has_paused)| {
            info!(term = deadlines.term, "the lease is taken up again");
            (DeadMan::resumed(deadlines), has_paused)
        });
        let (sender, extensions) = mpsc::channel(EXTENSIONS_MAX);
        let due = watch::Sender::new({ timer }.due(boot_now()));
        let lease = Lease { extensions: sender, due: due.subscribe() };
        let status = machine.watch();
        let alarm = Alarm::new()?;
        let machine = machine.clone();
        let acted = BootInstant::default();
        Ok((Self { timer, has_paused, acted, alarm, qemu, keep, extensions, machine, status, due, ailments }, lease))
    }

    /// Does what is due; never returns.
    pub(crate) async fn run(mut self) {
        loop {
            let due = self.timer.due(boot_now());
            self.due.send_replace(due);
            let is_done = match due {
                Due::Run => self.let_run().await,
                Due::Pause => self.pause().await,
                Due::Kill => self.kill().await,
            };
            self.set_alarm(is_done);
            tokio::select! {
                Some(extension) = self.extensions.recv() => self.take(extension),
                rung = self.alarm.rings() => if let Err(error) = rung {
                    error!(%error, "the lease's alarm fails");
                    tokio::time::sleep(AGAIN).await;
                },
                // The other end is this process's own.
                Ok(()) = self.status.changed() => {}
            }
        }
    }

    fn set_alarm(&self, is_done: bool) {
        let now = boot_now();
        let next = self.timer.next_deadline(now).map(|after| now + after);
        let again = (!is_done).then(|| now + AGAIN);
        if let Err(error) = self.alarm.set(next.into_iter().chain(again).min()) {
            error!(%error, "the lease's alarm cannot be set");
        }
    }

    fn take(&mut self, extension: Extension) {
        let Extension { deadlines, reply } = extension;
        let taken = self.timer.extend(deadlines).map_err(|old| Failure::new(Code::Conflict, old.to_string()));
        if taken.is_ok() {
            self.save();
        }
        // The asker may have given up.
        drop(reply.send(taken));
    }

    fn save(&self) {
        let Some(deadlines) = self.timer.deadlines() else { return };
        let saved = self.keep.save(&self.qemu, deadlines, self.has_paused);
        if let Err(error) = &saved {
            warn!(%error, "the lease cannot be written down");
        }
        let reason = saved.err().map(|error| format!("the lease would not outlive this process: {error}"));
        self.ailments.set(Part::Lease, reason);
    }

    fn state(&self) -> MachineState {
        self.status.borrow().state
    }

    /// Whether nothing is left to do.
    async fn let_run(&mut self) -> bool {
        match self.state() {
            _ if !self.has_paused => return true,
            // A machine that was stopped says for a moment yet that it runs; one that runs takes this for nothing.
            MachineState::Paused | MachineState::Running => {}
            MachineState::Connecting | MachineState::Prelaunch => return true,
            MachineState::Shutdown | MachineState::Gone => return self.paused(false),
        }
        info!("the lease was renewed: the processors run again");
        self.act("cont").await && self.paused(false)
    }

    async fn pause(&mut self) -> bool {
        if self.state() != MachineState::Running {
            return true;
        }
        if boot_now().since(self.acted) < AGAIN {
            return false;
        }
        warn!("the lease was not renewed in time: the processors are stopped");
        let is_done = self.act("stop").await;
        if is_done {
            self.acted = boot_now();
            self.paused(true);
        }
        is_done
    }

    fn paused(&mut self, has_paused: bool) -> bool {
        self.has_paused = has_paused;
        self.machine.say(if has_paused { PAUSED } else { "" });
        self.save();
        true
    }

    async fn act(&self, command: &str) -> bool {
        match timeout(ACT_LIMIT, self.machine.execute(command)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                warn!(command, error = %Failure::from(error), "QEMU did not do what its lease wants");
                false
            }
            Err(_elapsed) => {
                warn!(command, "QEMU did not answer in time");
                false
            }
        }
    }

    /// QEMU is ended by signal, which needs nothing of it; where its process is not known, it is told to end.
    async fn kill(&mut self) -> bool {
        if self.state() == MachineState::Gone {
            return true;
        }
        if self.status.borrow().reason != KILLED {
            error!("the lease has ended: QEMU is killed");
            self.machine.say(KILLED);
        }
        match self.qemu.kill() {
            Ok(true) => {}
            Ok(false) => drop(self.act("quit").await),
            Err(error) => {
                error!(%error, "QEMU cannot be killed");
                self.act("quit").await;
            }
        }
        false
    }
}
