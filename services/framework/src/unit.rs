//! A unit as the owner task has it.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc};

use acp_base::{Failure, Name, Uid};
use acp_core_supervise::Machine;
use acp_io_cgroup::Group;
use acp_io_daemon::wall_now;
use acp_io_unit::Process;
use acp_wire_api::framework;
use acp_wire_model::unit::{UnitMeta, UnitState, UnitStats, WITHHELD};
use tokio::sync::oneshot;

use crate::{
    account::Account,
    catalog::UnitName,
    persist::{Parameters, UnitRecord},
    template::{Restart, Template},
};

/// Calls that wait for one unit. More than one operator or owner never has.
const WAITERS_MAX: usize = 64;

/// Where an answer goes: the unit, or nothing where there was none.
pub(crate) type Answer = oneshot::Sender<Result<Option<framework::Unit>, Failure>>;

/// What a waiting call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// It is ready, or will not become so by itself.
    Settled,
    /// Its process runs.
    Running,
    /// It has no process and shall have none.
    Gone,
    /// As [`Goal::Gone`], and it is forgotten then.
    Removed,
}

#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) goal: Goal,
    pub(crate) answer: Answer,
}

/// What a unit waits for before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// In words, for its reason.
    pub(crate) text: String,
    /// Whether it will not come by itself.
    pub(crate) is_vain: bool,
}

/// A unit.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) name: UnitName,
    pub(crate) template: Arc<Template>,
    /// Identity since it was made.
    pub(crate) uid: Uid,
    pub(crate) account: Account,
    pub(crate) parameters: Parameters,
    /// Descriptors that came with its making, in the order of `parameters.fds`; kept as long as it may start again.
    pub(crate) given: Vec<OwnedFd>,
    /// Its listening sockets by name, which outlive its processes.
    pub(crate) listeners: BTreeMap<String, OwnedFd>,
    pub(crate) group: Group,
    pub(crate) machine: Machine,
    /// Tells its processes apart: what is said of an earlier one is ignored.
    pub(crate) generation: u64,
    pub(crate) main: Option<Arc<Process>>,
    /// What this node was called when its process was started.
    pub(crate) node: Name,
    /// Whether it shall not run because no role of this node names it.
    pub(crate) is_withheld: bool,
    /// What it waited for when it was last looked at.
    pub(crate) waits_for: Option<Wait>,
    pub(crate) stats: UnitStats,
    pub(crate) waiters: Vec<Waiter>,
    /// Whether something changed that others have to be told.
    pub(crate) is_changed: bool,
    shown: UnitState,
    since_ms: u64,
}

impl Unit {
    pub(crate) fn new(
        name: UnitName,
        template: Arc<Template>,
        uid: Uid,
        account: Account,
        group: Group,
        machine: Machine,
        node: Name,
    ) -> Self {
        Self {
            name,
            template,
            uid,
            account,
            parameters: Parameters::default(),
            given: Vec::new(),
            listeners: BTreeMap::new(),
            group,
            shown: machine.state(),
            machine,
            generation: 0,
            main: None,
            node,
            is_withheld: false,
            waits_for: None,
            stats: UnitStats::default(),
            waiters: Vec::new(),
            is_changed: true,
            since_ms: wall_now().0,
        }
    }

    /// Notes a change, and when the state is a new one, since when.
    pub(crate) fn changed(&mut self) {
        self.is_changed = true;
        if self.machine.state() != self.shown {
            self.shown = self.machine.state();
            self.since_ms = wall_now().0;
            let (state, reason) = (self.shown, self.machine.reason());
            tracing::info!(unit = %self.name, ?state, reason, "unit changed");
        }
        if !self.machine.has_process() {
            self.main = None;
        }
    }

    pub(crate) fn meta(&self) -> UnitMeta {
        UnitMeta {
            state: self.machine.state(),
            reason: self.reason(),
            template: self.name.template.clone(),
            pid: self.main.as_ref().map(|process| process.pid()),
            uid: self.account.uid,
            restarts: self.machine.restarts(),
            exit: self.machine.exit().cloned(),
            since_ms: self.since_ms,
        }
    }

    fn reason(&self) -> String {
        match (&self.waits_for, self.machine.state()) {
            (Some(wait), UnitState::Waiting) => wait.text.clone(),
            (_, UnitState::Stopped) if self.is_withheld => WITHHELD.to_owned(),
            _ => self.machine.reason().to_owned(),
        }
    }

    pub(crate) fn to_wire(&self) -> framework::Unit {
        framework::Unit { name: self.name.to_string(), uid: self.uid, meta: self.meta(), stats: self.stats.clone() }
    }

    pub(crate) fn to_record(&self, boot_id: &str) -> UnitRecord {
        let failed = self.machine.state() == UnitState::Failed;
        UnitRecord {
            name: self.name.to_string(),
            uid: self.uid,
            boot_id: boot_id.to_owned(),
            parameters: self.parameters.clone(),
            wanted: self.machine.is_wanted(),
            ready: self.machine.state() == UnitState::Ready,
            has_process: self.machine.has_process(),
            restarts: self.machine.restarts(),
            since_ms: self.since_ms,
            exit: self.machine.exit().cloned(),
            failed: failed.then(|| self.machine.reason().to_owned()),
            node: Some(self.node.clone()),
            withheld: self.is_withheld,
        }
    }

    /// Takes over since when an adopted unit is in its state.
    pub(crate) fn resume(&mut self, since_ms: u64) {
        self.since_ms = since_ms;
    }

    /// Whether nothing of it runs and nothing shall.
    pub(crate) fn is_gone(&self) -> bool {
        !self.machine.has_process() && !self.machine.is_wanted()
    }

    /// Whether descriptors that were given have to be kept for a next start.
    pub(crate) fn keeps_descriptors(&self) -> bool {
        self.template.restart != Restart::Never
    }

    /// Lets a call wait.
    pub(crate) fn wait(&mut self, goal: Goal, answer: Answer) {
        if self.waiters.len() >= WAITERS_MAX {
            let text = format!("{WAITERS_MAX} calls wait for {} already", self.name);
            return reply(answer, Err(Failure::new(acp_base::Code::ResourceExhausted, text)));
        }
        self.waiters.push(Waiter { goal, answer });
    }

    /// Answers the calls whose goal is reached.
    pub(crate) fn answer_waiters(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            match self.reached(waiter.goal) {
                Some(result) => reply(waiter.answer, result.map(Some)),
                None => self.waiters.push(waiter),
            }
        }
    }

    /// Answers the calls that wait for its process, which runs now or ran for a moment.
    pub(crate) fn answer_spawned(&mut self) {
        let waiters = std::mem::take(&mut self.waiters);
        let (running, others) = waiters.into_iter().partition(|waiter| waiter.goal == Goal::Running);
        self.waiters = others;
        let running: Vec<Waiter> = running;
        for waiter in running {
            reply(waiter.answer, Ok(Some(self.to_wire())));
        }
    }

    fn reached(&self, goal: Goal) -> Option<Result<framework::Unit, Failure>> {
        let state = self.machine.state();
        let is_vain = self.waits_for.as_ref().is_some_and(|wait| wait.is_vain);
        let failed = || Failure::precondition(format!("{} did not start: {}", self.name, self.reason()));
        match goal {
            Goal::Settled => match state {
                UnitState::Ready | UnitState::Failed | UnitState::Stopped => Some(Ok(self.to_wire())),
                UnitState::Waiting if is_vain => Some(Ok(self.to_wire())),
                UnitState::Waiting | UnitState::Starting | UnitState::Stopping | UnitState::Backoff => None,
            },
            Goal::Running => match state {
                UnitState::Starting | UnitState::Ready if self.main.is_some() => Some(Ok(self.to_wire())),
                UnitState::Failed | UnitState::Stopped => Some(Err(failed())),
                UnitState::Waiting if is_vain => Some(Err(failed())),
                UnitState::Waiting
                | UnitState::Starting
                | UnitState::Ready
                | UnitState::Stopping
                | UnitState::Backoff => None,
            },
            Goal::Gone | Goal::Removed => self.is_gone().then(|| Ok(self.to_wire())),
        }
    }
}

/// Answers a call, whose caller may have gone.
pub(crate) fn reply(answer: Answer, result: Result<Option<framework::Unit>, Failure>) {
    if answer.send(result).is_err() {
        tracing::debug!("a caller did not wait for its answer");
    }
}
