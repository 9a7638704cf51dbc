//! What the machines ask for, as tasks: starting processes, watching them, clearing up after them.

use std::{os::fd::AsFd as _, path::PathBuf, sync::Arc, time::Duration};

use acp_io_cgroup::{Group, Limits};
use acp_io_failpoint::point;
use acp_io_unit::{
    Notification, NotifySocket, Process, SpawnError, Spawned,
    record::{Ended, Started},
    spawn, wait_for_end, wait_for_record,
};
use acp_wire_model::unit::UnitExit;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    catalog::UnitName,
    error::{StartError, chain},
    prepare::Prepared,
};

/// How long what was killed may take to be gone: the kernel frees a large guest's memory in a second or two.
const LEFTOVERS_LIMIT: Duration = Duration::from_secs(20);

/// How often a group is killed and looked at until it is empty: one look is a read of a few files.
const LEFTOVERS_POLL: Duration = Duration::from_millis(5);

/// How long a shim may take to end after its unit: it waits half a second for output.
const SHIM_LIMIT: Duration = Duration::from_secs(2);

/// What became of a process. `generation` tells which one of its unit it was.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) unit: UnitName,
    pub(crate) generation: u64,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// It runs. It may have ended since; that is told by the next event.
    Spawned(Option<Arc<Process>>),
    /// It could not be started. The value says why.
    SpawnFailed(String),
    /// Its shim is gone while it runs on.
    ShimLost,
    /// It ended, and nothing of the unit is left.
    Ended(UnitExit),
}

/// What a task knows of the process it works for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) unit: UnitName,
    pub(crate) generation: u64,
    pub(crate) group: Group,
    pub(crate) records: PathBuf,
    pub(crate) events: mpsc::Sender<Event>,
}

impl Job {
    async fn tell(&self, what: What) {
        let event = Event { unit: self.unit.clone(), generation: self.generation, what };
        if self.events.send(event).await.is_err() {
            tracing::debug!(unit = %self.unit, "nobody is there to be told: the framework ends");
        }
    }

    /// Starts the process and watches it to its end.
    pub(crate) async fn start(
        self,
        shim: PathBuf,
        environment: Vec<(String, String)>,
        limits: Limits,
        prepared: Prepared,
    ) {
        match self.try_start(&shim, &environment, &limits, &prepared).await {
            Ok(Spawned { main, shim }) => {
                drop(prepared);
                let main = Arc::new(main);
                self.tell(What::Spawned(Some(Arc::clone(&main)))).await;
                self.watch(main, Some(shim)).await;
            }
            Err(StartError::Spawn(SpawnError::Ended(ended))) => {
                self.tell(What::Spawned(None)).await;
                self.finish(ended).await;
            }
            Err(error) => {
                self.clear().await;
                self.tell(What::SpawnFailed(chain(&error))).await;
            }
        }
    }

    async fn try_start(
        &self,
        shim: &std::path::Path,
        environment: &[(String, String)],
        limits: &Limits,
        prepared: &Prepared,
    ) -> Result<Spawned, StartError> {
        // Of an earlier process that ended while nobody watched.
        let left = self.clear().await;
        if left > 0 {
            return Err(StartError::Leftovers(left));
        }
        self.group.create()?;
        self.group.limit(limits)?;
        point("framework.start.group-made")?;
        let descriptors: Vec<_> = prepared.descriptors.iter().map(|fd| fd.as_fd()).collect();
        Ok(spawn(shim, environment, &prepared.launch, &descriptors).await?)
    }

    /// Watches a running process to its end.
    pub(crate) async fn watch(self, main: Arc<Process>, shim: Option<Process>) {
        if let Some(shim) = &shim {
            tokio::select! {
                biased;
                () = main.ended() => {}
                () = shim.ended() => {
                    shim.reap();
                    // Both may have ended at once.
                    if !main.has_ended() {
                        self.tell(What::ShimLost).await;
                    }
                }
            }
        }
        let ended = wait_for_end(&main, shim.as_ref(), &self.records).await;
        self.finish(ended).await;
        if let Some(shim) = shim
            && tokio::time::timeout(SHIM_LIMIT, shim.ended()).await.is_ok()
        {
            shim.reap();
        }
    }

    /// Finds out how a process ended that nobody watched, and clears up after it. `None`: it left no trace.
    pub(crate) async fn conclude(self, started: Option<Started>, shim: Option<Process>) {
        let ended = match &started {
            Some(started) => wait_for_record(started.pid, started.start, shim.as_ref(), &self.records).await,
            None => None,
        };
        self.finish(ended).await;
    }

    /// Clears up after a process that has ended, then tells how it did.
    async fn finish(&self, ended: Option<Ended>) {
        let killed_for_memory = self.group.oom_kills() > 0;
        self.clear().await;
        let exit = match ended {
            Some(Ended { status, signal, .. }) => {
                // Whom the kernel kills for memory, it kills by SIGKILL.
                UnitExit { status, signal, out_of_memory: killed_for_memory && signal == Some(9), lost: false }
            }
            None => UnitExit { status: None, signal: None, out_of_memory: killed_for_memory, lost: true },
        };
        self.tell(What::Ended(exit)).await;
    }

    /// Ends everything in the group and removes it; answers how many processes do not end.
    async fn clear(&self) -> usize {
        let deadline = Instant::now() + LEFTOVERS_LIMIT;
        loop {
            let left = self.group.processes().len();
            if left == 0 {
                break;
            }
            if Instant::now() >= deadline {
                tracing::error!(unit = %self.unit, left, "killed processes do not end");
                return left;
            }
            self.group.kill();
            tokio::time::sleep(LEFTOVERS_POLL).await;
        }
        // A group is made anew for each process, so its counters count for one. It stays busy for a moment.
        while let Err(error) = self.remove_group() {
            if Instant::now() >= deadline {
                tracing::warn!(unit = %self.unit, error = chain(&error), "a control group was not removed");
                break;
            }
            tokio::time::sleep(LEFTOVERS_POLL).await;
        }
        0
    }

    fn remove_group(&self) -> Result<(), StartError> {
        self.group.remove()?;
        Ok(point("framework.stop.group-removed")?)
    }
}

/// Hands on what units say of themselves, until nobody wants to know.
pub(crate) async fn listen(socket: NotifySocket, said: mpsc::Sender<Notification>) {
    loop {
        let received = tokio::select! {
            received = socket.receive() => received,
            () = said.closed() => return,
        };
        match received {
            Ok(notification) => {
                if said.send(notification).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::error!(%error, "what units say of themselves cannot be read");
                return;
            }
        }
    }
}
