//! The machine of one unit.

use std::{collections::VecDeque, time::Duration};

use acp_base::BootInstant;
use acp_wire_model::unit::{UnitExit, UnitState};

use crate::policy::{
    ENDS_MAX, ENDS_WINDOW, KILL_REPEAT, Policy, READY_RESETS, Readiness, Verdict, describe, judge, pause,
};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It shall run.
    Start,
    /// It shall not run.
    Stop,
    /// It shall end and run again.
    Restart,
    /// Every unit that it requires is ready.
    DependenciesReady,
    /// A running process of an earlier supervisor was found.
    Adopted {
        /// Whether that process had said that it is ready.
        ready: bool,
    },
    /// Its program runs.
    SpawnDone,
    /// Its program could not be run; nothing of it is left. The value says why.
    SpawnFailed(String),
    /// It says that it is ready.
    Ready,
    /// Its main process ended and nothing of the unit is left.
    Exited(UnitExit),
    /// Its shim ended while the main process goes on.
    ShimLost,
    /// It says that it is alive.
    WatchdogPing,
    /// Time passed.
    Tick,
}

/// What has to be done, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Run its program; answered by [`Input::SpawnDone`] or [`Input::SpawnFailed`].
    Spawn,
    /// Ask its main process to end.
    Terminate,
    /// End all of its processes.
    Kill,
    /// Tell everybody what the unit is now.
    Changed,
}

/// What an earlier supervisor knew of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Unplanned ends that were followed by a restart.
    pub restarts: u32,
    /// How its process last ended.
    pub exit: Option<UnitExit>,
    /// Why it had failed, if it had; else it was stopped.
    pub failed: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    None,
    Spawning,
    Running,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Then {
    /// Stay stopped.
    Stop,
    /// Start again, as asked.
    Start,
    /// It was killed for this reason: an unplanned end.
    Recover(String),
}

/// One unit.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    state: UnitState,
    reason: String,
    process: Process,
    then: Then,
    killed: bool,
    deadline: Option<BootInstant>,
    watchdog: Option<BootInstant>,
    ready_since: Option<BootInstant>,
    failures: u32,
    restarts: u32,
    ends: VecDeque<BootInstant>,
    exit: Option<UnitExit>,
}

impl Machine {
    /// A unit that is stopped.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: UnitState::Stopped,
            reason: String::new(),
            process: Process::None,
            then: Then::Stop,
            killed: false,
            deadline: None,
            watchdog: None,
            ready_since: None,
            failures: 0,
            restarts: 0,
            ends: VecDeque::with_capacity(ENDS_MAX),
            exit: None,
        }
    }

    /// A unit without a process and with this past, for a supervisor that continues another's work.
    pub fn with_past(policy: Policy, past: Past) -> Self {
        let (state, reason) = past.failed.map_or((UnitState::Stopped, String::new()), |why| (UnitState::Failed, why));
        Self { state, reason, restarts: past.restarts, exit: past.exit, ..Self::new(policy) }
    }

    /// What it is doing.
    pub fn state(&self) -> UnitState {
        self.state
    }

    /// Why, in a sentence; empty when there is nothing to say.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Unplanned ends that were followed by a restart.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// How its process last ended.
    pub fn exit(&self) -> Option<&UnitExit> {
        self.exit.as_ref()
    }

    /// Whether it has a process, or may have one in a moment.
    pub fn has_process(&self) -> bool {
        self.process != Process::None
    }

    /// Whether it shall run: its process, if it has one, is not meant to be its last.
    pub fn is_wanted(&self) -> bool {
        match self.state {
            UnitState::Waiting | UnitState::Starting | UnitState::Ready | UnitState::Backoff => true,
            UnitState::Stopping => self.then != Then::Stop,
            UnitState::Stopped | UnitState::Failed => false,
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<BootInstant> {
        [self.deadline, self.watchdog].into_iter().flatten().min()
    }

    /// Takes what happened at `now` and appends what has to be done.
    pub fn step(&mut self, now: BootInstant, input: Input, out: &mut Vec<Output>) {
        match self.state {
            UnitState::Stopped | UnitState::Failed | UnitState::Backoff => self.idle(now, input, out),
            UnitState::Waiting => self.waiting(now, input, out),
            UnitState::Starting => self.starting(now, input, out),
            UnitState::Ready => self.ready(now, input, out),
            UnitState::Stopping => self.stopping(now, input, out),
        }
    }

    /// Stopped, failed, or in the pause before a restart: no process, and none on its way.
    fn idle(&mut self, now: BootInstant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Start | Input::Restart => {
                self.forgive();
                self.enter(UnitState::Waiting, String::new(), out);
            }
            Input::Stop if self.state != UnitState::Stopped => self.enter(UnitState::Stopped, String::new(), out),
            Input::Tick if self.is_due(now) => self.move_to(UnitState::Waiting, out),
            Input::Adopted { ready } => self.adopt(now, ready, out),
            Input::SpawnDone => out.push(Output::Kill),
            Input::Stop
            | Input::Tick
            | Input::DependenciesReady
            | Input::SpawnFailed(_)
            | Input::Ready
            | Input::Exited(_)
            | Input::ShimLost
            | Input::WatchdogPing => {}
        }
    }

    fn waiting(&mut self, now: BootInstant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Stop => self.enter(UnitState::Stopped, String::new(), out),
            Input::DependenciesReady => {
                self.process = Process::Spawning;
                out.push(Output::Spawn);
                self.move_to(UnitState::Starting, out);
                self.deadline = Some(now + self.policy.start_timeout);
            }
            Input::Adopted { ready } => self.adopt(now, ready, out),
            Input::SpawnDone => out.push(Output::Kill),
            Input::Start
            | Input::Restart
            | Input::SpawnFailed(_)
            | Input::Ready
            | Input::Exited(_)
            | Input::ShimLost
            | Input::WatchdogPing
            | Input::Tick => {}
        }
    }

    fn starting(&mut self, now: BootInstant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Stop => self.end(now, Then::Stop, out),
            Input::Restart => self.end(now, Then::Start, out),
            Input::SpawnDone => self.spawned(now, out),
            Input::SpawnFailed(why) => self.unplanned(now, Verdict::Bug, format!("could not be started: {why}"), out),
            Input::Ready => self.become_ready(now, out),
            Input::Exited(exit) => self.exited(now, exit, out),
            Input::ShimLost => self.note_lost_shim(out),
            Input::Tick if self.is_due(now) => {
                let limit = self.policy.start_timeout;
                self.kill(now, format!("was not ready within {}", seconds(limit)), out);
            }
            Input::Start | Input::DependenciesReady | Input::Adopted { .. } | Input::WatchdogPing | Input::Tick => {}
        }
    }

    fn ready(&mut self, now: BootInstant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Stop => self.end(now, Then::Stop, out),
            Input::Restart => self.end(now, Then::Start, out),
            Input::SpawnDone => {
                self.process = Process::Running;
                out.push(Output::Changed);
            }
            Input::SpawnFailed(why) => self.unplanned(now, Verdict::Bug, format!("could not be started: {why}"), out),
            Input::Exited(exit) => self.exited(now, exit, out),
            Input::ShimLost => self.note_lost_shim(out),
            Input::WatchdogPing => self.feed_watchdog(now),
            Input::Tick if self.is_due(now) => {
                let silence = self.policy.watchdog.unwrap_or_default();
                self.kill(now, format!("gave no sign of life for {}", seconds(silence)), out);
            }
            Input::Start | Input::DependenciesReady | Input::Adopted { .. } | Input::Ready | Input::Tick => {}
        }
    }

    fn stopping(&mut self, now: BootInstant, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Stop => self.then = Then::Stop,
            Input::Start | Input::Restart if self.then == Then::Stop => self.then = Then::Start,
            Input::SpawnDone => {
                self.process = Process::Running;
                out.push(if self.killed { Output::Kill } else { Output::Terminate });
            }
            Input::SpawnFailed(_) => self.ended(now, None, out),
            Input::Exited(exit) => self.ended(now, Some(exit), out),
            Input::ShimLost => self.note_lost_shim(out),
            Input::Tick if self.is_due(now) => {
                if !self.killed && self.then == Then::Stop {
                    self.reason =
                        format!("had to be killed: it did not end within {}", seconds(self.policy.stop_timeout));
                    out.push(Output::Changed);
                }
                self.killed = true;
                self.deadline = Some(now + KILL_REPEAT);
                out.push(Output::Kill);
            }
            Input::Start
            | Input::Restart
            | Input::DependenciesReady
            | Input::Adopted { .. }
            | Input::Ready
            | Input::WatchdogPing
            | Input::Tick => {}
        }
    }

    fn enter(&mut self, state: UnitState, reason: String, out: &mut Vec<Output>) {
        self.reason = reason;
        self.move_to(state, out);
    }

    /// Changes the state and keeps the reason; deadlines belong to a state and end with it.
    fn move_to(&mut self, state: UnitState, out: &mut Vec<Output>) {
        self.state = state;
        self.deadline = None;
        self.watchdog = None;
        out.push(Output::Changed);
    }

    fn is_due(&self, now: BootInstant) -> bool {
        self.next_deadline().is_some_and(|deadline| now >= deadline)
    }

    /// An operator's start is a new beginning.
    fn forgive(&mut self) {
        self.failures = 0;
        self.ends.clear();
    }

    fn adopt(&mut self, now: BootInstant, ready: bool, out: &mut Vec<Output>) {
        self.process = Process::Running;
        if ready {
            self.become_ready(now, out);
        } else {
            self.enter(UnitState::Starting, String::new(), out);
            self.deadline = Some(now + self.policy.start_timeout);
        }
    }

    fn spawned(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        self.process = Process::Running;
        match self.policy.readiness {
            Readiness::Exec => self.become_ready(now, out),
            Readiness::Notify => out.push(Output::Changed),
        }
    }

    fn become_ready(&mut self, now: BootInstant, out: &mut Vec<Output>) {
        self.enter(UnitState::Ready, String::new(), out);
        self.ready_since = Some(now);
        self.feed_watchdog(now);
    }

    fn feed_watchdog(&mut self, now: BootInstant) {
        self.watchdog = self.policy.watchdog.map(|silence| now + silence);
    }

    fn note_lost_shim(&mut self, out: &mut Vec<Output>) {
        self.reason = "its shim was lost: it runs on without a log, and how it ends will not be known".to_owned();
        out.push(Output::Changed);
    }

    /// Asks the process to end. One that is still being spawned is asked once it is there.
    fn end(&mut self, now: BootInstant, then: Then, out: &mut Vec<Output>) {
        if self.process == Process::Running {
            out.push(Output::Terminate);
        }
        self.then = then;
        self.killed = false;
        self.enter(UnitState::Stopping, String::new(), out);
        self.deadline = Some(now + self.policy.stop_timeout);
    }

    /// Ends the process without asking, as an unplanned end.
    fn kill(&mut self, now: BootInstant, reason: String, out: &mut Vec<Output>) {
        out.push(Output::Kill);
        self.then = Then::Recover(reason.clone());
        self.killed = true;
        self.enter(UnitState::Stopping, reason, out);
        self.deadline = Some(now + KILL_REPEAT);
    }

    /// The process is gone while it was being ended.
    fn ended(&mut self, now: BootInstant, exit: Option<UnitExit>, out: &mut Vec<Output>) {
        self.exit = exit.or(self.exit.take());
        self.process = Process::None;
        match std::mem::replace(&mut self.then, Then::Stop) {
            Then::Stop => {
                self.ready_since = None;
                self.move_to(UnitState::Stopped, out);
            }
            Then::Start => {
                self.ready_since = None;
                self.forgive();
                self.enter(UnitState::Waiting, String::new(), out);
            }
            Then::Recover(reason) => self.unplanned(now, Verdict::Bug, reason, out),
        }
    }

    /// The process is gone and nobody had asked for it.
    fn exited(&mut self, now: BootInstant, exit: UnitExit, out: &mut Vec<Output>) {
        let (verdict, reason) = (judge(&exit), describe(&exit));
        self.exit = Some(exit);
        self.unplanned(now, verdict, reason, out);
    }

    fn unplanned(&mut self, now: BootInstant, verdict: Verdict, reason: String, out: &mut Vec<Output>) {
        self.process = Process::None;
        let recovered = self.ready_since.take().is_some_and(|since| now.since(since) >= READY_RESETS);
        if recovered {
            self.failures = 0;
        }
        if !self.policy.restarts_after(verdict) {
            let state = if verdict == Verdict::Done { UnitState::Stopped } else { UnitState::Failed };
            return self.enter(state, reason, out);
        }
        if verdict != Verdict::Temporary && self.is_looping(now) {
            let window = seconds(ENDS_WINDOW);
            let reason =
                format!("ended {ENDS_MAX} times within {window} and is not started again; the last time it {reason}");
            return self.enter(UnitState::Failed, reason, out);
        }
        let pause = pause(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.restarts = self.restarts.saturating_add(1);
        self.enter(UnitState::Backoff, reason, out);
        self.deadline = Some(now + pause);
    }

    /// Counts this end and says whether it was one too many.
    fn is_looping(&mut self, now: BootInstant) -> bool {
        self.ends.retain(|end| now.since(*end) < ENDS_WINDOW);
        self.ends.push_back(now);
        self.ends.len() >= ENDS_MAX
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
