//! Callers who do nothing wrong, and how long they wait.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use acp_dev_testkit::varlink;
use anyhow::{Result, anyhow, ensure};
use serde_json::json;

use super::user::run_as;

/// The fewest calls that a percentile is taken of.
const CALLS_MIN: usize = 200;

/// Threads that call each daemon in turn, on a new connection each time, as whoever comes anew does.
pub(super) struct Visitors<'scope> {
    enough: Arc<AtomicBool>,
    threads: Vec<ScopedJoinHandle<'scope, Result<Visit>>>,
}

/// How one user fared.
pub(super) struct Visit {
    uid: u32,
    waits: Vec<Duration>,
}

impl<'scope> Visitors<'scope> {
    pub(super) fn start<'env>(scope: &'scope Scope<'scope, 'env>, sockets: &'env [PathBuf], uids: &[u32]) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let visit = |uid: u32| {
            let enough = Arc::clone(&enough);
            scope.spawn(move || run_as(uid, || call_until(&enough, uid, sockets)))
        };
        let threads = uids.iter().map(|uid| visit(*uid)).collect();
        Self { enough, threads }
    }

    /// Ends the calls and answers how each user fared.
    pub(super) fn finish(self) -> Result<Vec<Visit>> {
        self.enough.store(true, Ordering::Relaxed);
        let joined =
            self.threads.into_iter().map(|thread| thread.join().map_err(|_panic| anyhow!("a visitor panicked"))?);
        joined.collect()
    }
}

fn call_until(enough: &AtomicBool, uid: u32, sockets: &[PathBuf]) -> Result<Visit> {
    let mut waits = Vec::new();
    while !enough.load(Ordering::Relaxed) || waits.len() < CALLS_MIN {
        for socket in sockets {
            let started = Instant::now();
            let health = varlink::call(socket, "acp.daemon.GetHealth", json!({}))?;
            ensure!(health["ready"] == true, "{} is not ready: {health}", socket.display());
            waits.push(started.elapsed());
        }
    }
    Ok(Visit { uid, waits })
}

impl Visit {
    /// Fails if more than one call in a hundred took longer.
    pub(super) fn check(&self, p99_max: Duration) -> Result<()> {
        let mut waits = self.waits.clone();
        waits.sort_unstable();
        let at = |share: usize| waits[(waits.len() - 1) * share / 100];
        let told = format!(
            "{} calls of uid {}: p50 {:?}, p99 {:?}, slowest {:?}",
            waits.len(),
            self.uid,
            at(50),
            at(99),
            at(100)
        );
        ensure!(at(99) <= p99_max, "{told}; at most {p99_max:?} is promised");
        eprintln!("    {told}");
        Ok(())
    }
}
