//! The log, the vote and the snapshot on disk: SQLite in WAL mode behind one thread, `synchronous = FULL`.
//!
//! Deliberately not here: what a command means and when anything is written, which openraft decides.
//!
//! **Invariants**: what was answered as written is on stable storage. Rows that are not what was written are found and named
//! before anything is built on them. After a failure nothing is written until the database has been opened again.

mod disk;
mod durable;
mod log;
mod recent;
mod schema;
mod snapshot;

use std::{ffi::CString, path::PathBuf, thread};

use acp_base::Uid;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::{
    disk::{Disk, Recovered},
    durable::Durable,
    log::Log,
};
use crate::{error::OpenError, types::LogId};

/// SQLite's own way to the files of this system.
pub(crate) const SYSTEM_VFS: &std::ffi::CStr = c"unix";

/// Jobs waiting for the thread: the log's writer, its readers (one a peer) and a snapshot; more would only hide a slow disk.
const JOBS_MAX: usize = 16;

type Job = Box<dyn FnOnce(&mut Disk) + Send>;

/// The thread that has the database open. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Option<Job>>,
    /// Which entries the stored snapshot stands for; an error once one could not be stored.
    covered: watch::Sender<Result<Option<LogId>, ()>>,
    durable: Durable,
}

/// Where a log lies and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) vfs: CString,
    pub(crate) directory: PathBuf,
    pub(crate) node: Uid,
}

impl Store {
    /// Opens the database in a thread of its own.
    pub(crate) async fn open(place: Place) -> Result<(Self, Recovered), OpenError> {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let (opened, opening) = oneshot::channel();
        let thread = thread::Builder::new().name("raft-store".into()).spawn(move || {
            match Disk::open(&place.vfs, &place.directory, place.node) {
                Ok((disk, recovered)) => {
                    drop(opened.send(Ok(recovered)));
                    run(disk, queue);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
        thread.map_err(OpenError::io("start a thread for the log"))?;
        let recovered = opening.await.map_err(|_panicked| OpenError::closed())??;
        let covered = recovered.snapshot.as_ref().and_then(|(meta, _)| meta.last_log_id);
        let durable = Durable::new(recovered.last);
        Ok((Self { jobs, covered: watch::Sender::new(Ok(covered)), durable }, recovered))
    }

    /// How far the log is on stable storage.
    pub(crate) const fn durable(&self) -> &Durable {
        &self.durable
    }

    /// Does something with the database, after everything that was asked before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Disk) -> Result<T, OpenError> + Send + 'static,
    ) -> Result<T, OpenError> {
        let (done, answer) = oneshot::channel();
        // Whoever asked may have gone; the work is done all the same.
        self.send(Box::new(move |disk| drop(done.send(work(disk))))).await?;
        answer.await.map_err(|_closed| OpenError::closed())?
    }

    /// As [`Store::run`], but does not wait for the end.
    pub(crate) async fn send(&self, job: Job) -> Result<(), OpenError> {
        self.jobs.send(Some(job)).await.map_err(|_closed| OpenError::closed())
    }

    /// Closes the database, whoever else still has a handle to it, and waits until it is closed.
    pub(crate) async fn close(self) {
        if self.jobs.send(None).await.is_ok() {
            self.jobs.closed().await;
        }
    }
}

fn run(mut disk: Disk, mut queue: mpsc::Receiver<Option<Job>>) {
    while let Some(Some(job)) = queue.blocking_recv() {
        job(&mut disk);
    }
    // The queue is dropped last: who waits for the end of it finds the database closed.
    disk.close();
    drop(queue);
}
