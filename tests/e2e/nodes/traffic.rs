//! Calls from one node to another, again and again, while something happens: what each came to is kept.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use acp_dev_testkit::{varlink::Conversation, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::{
    cluster::{At, Cluster, Refused, answer},
    world::LIMIT,
};

/// The pause after a call that came to nothing.
const PAUSE: Duration = Duration::from_millis(20);
/// Calls on one conversation, then the next one is opened.
const CALLS_EACH: u32 = 20;

/// What calls came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Those that were answered, and how long each took.
    pub(super) times: Vec<Duration>,
    /// Those refused with an error that says that they may succeed later.
    pub(super) later: Vec<String>,
    /// Those whose conversation ended before the answer.
    pub(super) cut: Vec<String>,
    /// Those refused for good.
    pub(super) wrong: Vec<String>,
}

impl Tally {
    /// How long 99 in 100 calls took at most.
    pub(super) fn p99(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().unwrap_or_default()
    }

    /// Nothing but answers, and errors that say that a retry can help.
    pub(super) fn is_honest(&self) -> Result<()> {
        ensure!(self.wrong.is_empty(), "{} calls were refused for good, as {:?}", self.wrong.len(), self.wrong.first());
        Ok(())
    }

    /// Nothing but answers.
    pub(super) fn is_unharmed(&self) -> Result<()> {
        self.is_honest()?;
        let lost = self.later.iter().chain(&self.cut).collect::<Vec<_>>();
        ensure!(lost.is_empty(), "{} of {} calls failed: {lost:?}", lost.len(), lost.len() + self.times.len());
        Ok(())
    }
}

/// Calls from a node to a service of another one.
pub(super) struct Traffic<'a> {
    cluster: &'a Cluster,
    from: At,
    to: At,
    is_over: AtomicBool,
    tally: Mutex<Tally>,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(cluster: &'a Cluster, from: At, to: At) -> Self {
        Self { cluster, from, to, is_over: AtomicBool::new(false), tally: Mutex::default() }
    }

    /// Runs `work` beside the calls; answers what both came to.
    pub(super) fn beside<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Tally)> {
        let worked = thread::scope(|scope| {
            let calling = scope.spawn(|| self.call_on());
            let worked = self.wait_answers(1).and_then(|()| work());
            self.is_over.store(true, Ordering::Relaxed);
            calling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(worked)
        })?;
        let tally = self.tally();
        ensure!(!tally.times.is_empty(), "no call was answered: {tally:?}");
        Ok((worked, tally))
    }

    /// Waits until so many more calls were answered.
    pub(super) fn wait_answers(&self, more: usize) -> Result<()> {
        let before = self.tally().times.len();
        wait_for(&format!("calls from {} to {}", self.from.name(), self.to.name()), LIMIT, || {
            let tally = self.tally();
            let last = || [tally.wrong.last(), tally.later.last(), tally.cut.last()];
            if tally.times.len() >= before + more { Ok(()) } else { Err(format!("{:?}", last())) }
        })
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn call_on(&self) -> Result<()> {
        let key = self.cluster.root_key(self.from)?;
        let asked = json!({ "service": "cluster", "node": self.to.name(), "key": key });
        while !self.is_over.load(Ordering::Relaxed) {
            match self.cluster.ask_to_open(self.from, &asked) {
                Ok(Ok(conversation)) => self.converse(conversation),
                Ok(Err(refused)) => self.note(Err(Ok(refused))),
                // Nobody at the agent's own socket: it is being started again.
                Err(error) => self.note(Err(Err(error))),
            }
        }
        Ok(())
    }

    fn converse(&self, mut conversation: Conversation) {
        for _call in 0..CALLS_EACH {
            let started = Instant::now();
            match conversation.call("acp.cluster.GetStatus", json!({})).context("a call") {
                Ok(reply) => self.note(answer(reply).map(|_status| started.elapsed()).map_err(Ok)),
                Err(error) => return self.note(Err(Err(error))),
            }
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn note(&self, came_to: Result<Duration, Result<Refused, anyhow::Error>>) {
        let is_lost = came_to.is_err();
        {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            match came_to {
                Ok(time) => tally.times.push(time),
                Err(Ok(refused)) if refused.retry == "later" => tally.later.push(refused.message),
                Err(Ok(refused)) => tally.wrong.push(format!("{}: {}", refused.code, refused.message)),
                Err(Err(error)) => tally.cut.push(format!("{error:#}")),
            }
        }
        if is_lost {
            thread::park_timeout(PAUSE);
        }
    }
}
