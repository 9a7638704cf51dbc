//! Keeps one pool: its worker's unit running, its state known.
//!
//! Deliberately not here: what follows for slots and calls (the service's). **Invariant**: a worker that does not answer in
//! time is replaced, one that answers "no" is left alone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{Code, Failure, Name, Uid};
use acp_core_storeplan::{Verdict, judge};
use acp_io_daemon::Context;
use acp_wire_api::{
    Empty,
    framework::{Limits, RemoveUnit, SpawnUnit, SpawnUnitRequest, UnitRequest},
    worker::{Scan, ScanReply},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{Config, metrics, persist::Records, worker::Pool};

/// The template of workers.
pub(crate) const TEMPLATE: &str = "storage-worker";

/// Requests to look that wait for a keeper; those that come while it looks are answered by one more look.
const REQUESTS_MAX: usize = 64;

/// How long the framework may take to start or to end a worker.
const UNIT_LIMIT: Duration = Duration::from_secs(20);

/// Asks a keeper to look at its pool.
#[derive(Clone, Debug)]
pub(crate) struct KeeperHandle(mpsc::Sender<oneshot::Sender<()>>);

impl KeeperHandle {
    /// Looks at the pool and returns when what was found is published; at once when the keeper is gone.
    pub(crate) async fn look(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.send(done).await.is_ok() && is_done.await.is_err() {
            tracing::debug!("a pool's keeper ended before it had looked");
        }
    }

    /// Has the pool looked at soon.
    pub(crate) fn suspect(&self) {
        let (done, _nobody_waits) = oneshot::channel();
        if self.0.try_send(done).is_err() {
            tracing::trace!("the pool is going to be looked at already");
        }
    }
}

/// What a keeper found.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) pool: Uid,
    pub(crate) result: Result<Arc<ScanReply>, String>,
    /// Told when the finding is published.
    pub(crate) published: oneshot::Sender<()>,
}

/// Why a look brought nothing.
#[derive(Debug)]
enum Trouble {
    /// The worker cannot be started.
    Unstarted(Failure),
    /// The worker says no.
    Refused(Failure),
    /// The worker does not answer.
    Hung(Failure),
}

/// Keeps one pool.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) config: Config,
    pub(crate) context: Context,
    pub(crate) records: Records,
    pub(crate) name: Name,
    pub(crate) uid: Uid,
    pub(crate) path: String,
    pub(crate) findings: mpsc::Sender<Finding>,
    /// Cancelled when the pool is declared no more.
    pub(crate) removed: CancellationToken,
    /// Cancelled when this keeper has ended.
    pub(crate) ended: CancellationToken,
    /// The end of the keeper that kept an earlier pool of this name, whose worker has to be gone first.
    pub(crate) predecessor: Option<CancellationToken>,
}

impl Keeper {
    /// Starts a keeper's task.
    pub(crate) fn start(self) -> KeeperHandle {
        let (requests, incoming) = mpsc::channel(REQUESTS_MAX);
        let context = self.context.clone();
        context.tasks.spawn("pool keeper", self.run(incoming));
        KeeperHandle(requests)
    }

    async fn run(self, mut incoming: mpsc::Receiver<oneshot::Sender<()>>) {
        let _ended = self.ended.clone().drop_guard();
        let (drain, removed) = (self.context.drain.clone(), self.removed.clone());
        tokio::select! {
            () = drain.cancelled() => {}
            () = self.keep(&mut incoming) => {}
            () = removed.cancelled() => self.remove_unit().await.unwrap_or_else(|failure| {
                tracing::warn!(pool = %self.name, reason = %failure, "the worker of a removed pool may still run");
            }),
        }
    }

    async fn keep(&self, incoming: &mut mpsc::Receiver<oneshot::Sender<()>>) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.cancelled().await;
        }
        let mut is_spawned = false;
        let mut pause = self.config.retry_pause();
        let mut waiting = Vec::new();
        loop {
            let looked = self.look(&mut is_spawned).await;
            pause = match &looked {
                Ok(_) => self.config.retry_pause(),
                Err(_) => (pause * 2).min(self.config.scan_interval()),
            };
            let interval = if looked.is_ok() { self.config.scan_interval() } else { pause };
            let is_hung = matches!(looked, Err(Trouble::Hung(_)));
            self.say(looked.map_err(|trouble| self.sentence(&trouble)), &mut waiting).await;
            if is_hung {
                is_spawned = false;
                // After it was said: a worker that hangs takes its time to end, and nobody shall be told of a ready pool
                // meanwhile.
                if let Err(reason) = self.replace().await {
                    self.say(Err(reason), &mut waiting).await;
                }
            }
            let next = Instant::now() + interval;
            // A worker that was replaced gets its pause, however many ask: replacing it costs more than their patience.
            let is_open = is_spawned;
            tokio::select! {
                () = sleep_until(next) => {}
                Some(request) = incoming.recv(), if is_open => waiting.push(request),
            }
            while let Ok(request) = incoming.try_recv() {
                waiting.push(request);
            }
        }
    }

    async fn say(&self, result: Result<Arc<ScanReply>, String>, waiting: &mut Vec<oneshot::Sender<()>>) {
        let (published, is_published) = oneshot::channel();
        let finding = Finding { pool: self.uid, result, published };
        if self.findings.send(finding).await.is_err() || is_published.await.is_err() {
            tracing::debug!(pool = %self.name, "nobody takes the state of the pool");
        }
        for waiter in waiting.drain(..) {
            if waiter.send(()).is_err() {
                tracing::trace!("whoever asked for the look is gone");
            }
        }
    }

    /// Looks at the pool once.
    async fn look(&self, is_spawned: &mut bool) -> Result<Arc<ScanReply>, Trouble> {
        if !*is_spawned {
            self.spawn_unit().await.map_err(Trouble::Unstarted)?;
            *is_spawned = true;
        }
        let worker = self.context.client.instance(TEMPLATE, self.name.as_str());
        let scanned = worker.deadline(self.config.scan_limit()).call::<Scan>(Empty {}).await;
        let failure = match scanned {
            Ok(scan) => {
                self.records.set_prepared(self.uid);
                return Ok(Arc::new(scan));
            }
            Err(failure) => failure,
        };
        Err(match judge(Some(failure.code)) {
            Verdict::Refused | Verdict::Ready => Trouble::Refused(failure),
            Verdict::Hung => Trouble::Hung(failure),
        })
    }

    /// What is said of a pool in trouble.
    fn sentence(&self, trouble: &Trouble) -> String {
        let limit = self.config.scan_limit_s;
        match trouble {
            Trouble::Unstarted(failure) => format!("its worker cannot be started: {failure}"),
            Trouble::Refused(failure) => failure.message.clone(),
            Trouble::Hung(failure) => {
                tracing::warn!(pool = %self.name, reason = %failure, "a worker does not answer and is replaced");
                format!("its worker did not answer within {limit} s, as when a file system hangs; it is replaced")
            }
        }
    }

    /// Ends a worker that hangs; the error is a sentence for people.
    async fn replace(&self) -> Result<(), String> {
        metrics::worker_replaced();
        let limit = self.config.scan_limit_s;
        let removed = self.remove_unit().await;
        removed.map_err(|failure| format!("its worker did not answer within {limit} s and cannot be ended: {failure}"))
    }

    /// Starts the worker's unit, or finds it running; one that runs with other parameters is replaced.
    async fn spawn_unit(&self) -> Result<(), Failure> {
        let is_prepared = self.records.is_prepared(self.uid);
        let failure = match self.ask_for_unit(is_prepared).await {
            Err(failure) if runs_otherwise(&failure) => failure,
            result => return result,
        };
        // A worker that was made before its pool was prepared has prepared it since, and knows that.
        if is_prepared && self.ask_for_unit(false).await.is_ok() {
            return Ok(());
        }
        tracing::info!(pool = %self.name, reason = %failure, "the worker runs with other parameters");
        self.remove_unit().await?;
        self.ask_for_unit(is_prepared).await
    }

    async fn ask_for_unit(&self, is_prepared: bool) -> Result<(), Failure> {
        let prepared = if is_prepared { "1" } else { "0" };
        let environment = BTreeMap::from([
            (Pool::PATH.to_owned(), self.path.clone()),
            (Pool::UID.to_owned(), self.uid.to_string()),
            (Pool::PREPARED.to_owned(), prepared.to_owned()),
        ]);
        let request = SpawnUnitRequest {
            template: TEMPLATE.to_owned(),
            instance: self.name.to_string(),
            arguments: Vec::new(),
            fds: Vec::new(),
            environment,
            limits: Limits::default(),
        };
        let framework = self.context.client.service("framework").deadline(UNIT_LIMIT);
        framework.call::<SpawnUnit>(request).await.map(drop)
    }

    async fn remove_unit(&self) -> Result<(), Failure> {
        let request = UnitRequest { name: format!("{TEMPLATE}@{}", self.name) };
        let framework = self.context.client.service("framework").deadline(UNIT_LIMIT);
        framework.call::<RemoveUnit>(request).await.map(drop)
    }
}

/// Whether a unit is there that was made with other parameters.
fn runs_otherwise(failure: &Failure) -> bool {
    matches!(failure.code, Code::AlreadyExists | Code::Conflict | Code::FailedPrecondition)
}
