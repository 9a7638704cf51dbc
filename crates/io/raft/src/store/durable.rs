//! How far the log is on stable storage, and who waits for it.
//!
//! A leader's entries go to the others while its own disk still writes them. Whatever must not go further than that disk asks
//! here: what is applied, what others are told is committed, what a read stands on.
//!
//! **Invariant**: what this says is stored is on stable storage. After a write has failed nothing more is said to be stored.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::types::LogId;

#[derive(Debug)]
struct Progress {
    /// Everything up to here is on stable storage.
    stored: Option<LogId>,
    /// What the disk was last given to store.
    given: Option<LogId>,
    /// When the disk last finished something, or was given something while it had nothing to do.
    since: Instant,
    /// Why a write failed.
    failed: Option<String>,
}

/// See the module. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Durable(watch::Sender<Progress>);

impl Durable {
    /// A log that was found on disk up to here.
    pub(crate) fn new(stored: Option<LogId>) -> Self {
        Self(watch::Sender::new(Progress { stored, given: stored, since: Instant::now(), failed: None }))
    }

    /// Up to where everything is on stable storage.
    pub(crate) fn stored(&self) -> Option<LogId> {
        self.0.borrow().stored
    }

    /// Why a write failed, if one has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.0.borrow().failed.clone()
    }

    /// For how long the disk has had something to store and finished nothing; zero if it has nothing to store.
    pub(crate) fn stuck(&self) -> Duration {
        let progress = self.0.borrow();
        if progress.given > progress.stored { progress.since.elapsed() } else { Duration::ZERO }
    }

    /// The disk is given everything up to here.
    pub(crate) fn give(&self, upto: LogId) {
        self.0.send_modify(|progress| {
            if progress.given == progress.stored {
                progress.since = Instant::now();
            }
            progress.given = Some(upto);
        });
    }

    /// Everything up to here is on stable storage.
    pub(crate) fn store(&self, upto: LogId) {
        self.0.send_modify(|progress| {
            progress.stored = progress.stored.max(Some(upto));
            progress.given = progress.given.max(progress.stored);
            progress.since = Instant::now();
        });
    }

    /// The log ends here now: what came after is removed.
    pub(crate) fn cut(&self, last: Option<LogId>) {
        self.0.send_modify(|progress| {
            progress.stored = progress.stored.min(last);
            progress.given = progress.stored;
        });
    }

    /// A write has failed. The first reason counts.
    pub(crate) fn fail(&self, reason: &str) {
        self.0.send_modify(|progress| {
            progress.failed.get_or_insert_with(|| reason.to_owned());
        });
    }

    /// Waits until everything up to here is on stable storage. Answers why it will not be, if a write has failed.
    pub(crate) async fn reach(&self, upto: Option<LogId>) -> Result<(), String> {
        let mut progress = self.0.subscribe();
        let decided = progress.wait_for(|progress| progress.stored >= upto || progress.failed.is_some()).await;
        match decided {
            Ok(progress) if progress.stored >= upto => Ok(()),
            Ok(progress) => Err(progress.failed.clone().unwrap_or_default()),
            Err(_closed) => Err("the log is closed".into()),
        }
    }

    /// As far up to here as everything is on stable storage, after a wait of at most so long.
    pub(crate) async fn as_far_as(&self, upto: Option<LogId>, limit: Duration) -> Option<LogId> {
        drop(timeout(limit, self.reach(upto)).await);
        upto.min(self.stored())
    }

    /// Waits until a write has failed, and answers why.
    pub(crate) async fn failed(&self) -> String {
        let mut progress = self.0.subscribe();
        match progress.wait_for(|progress| progress.failed.is_some()).await {
            Ok(progress) => progress.failed.clone().unwrap_or_default(),
            Err(_closed) => "the log is closed".into(),
        }
    }
}
