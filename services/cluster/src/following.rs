//! What the follower has to say of itself, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acp_base::Failure;
use acp_io_daemon::Health;
use tokio::{sync::watch, time::Instant};

use crate::source::Source;

/// What is told of following. Cheap to clone; clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Following {
    shared: Arc<Mutex<Told>>,
    /// Why this replica does not apply what was ordered, for those who wait for it; empty when it does.
    trouble: watch::Sender<String>,
    health: Health,
}

/// What is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Whose log is followed.
    pub(crate) source: Option<Source>,
    /// When somebody was heard last who could know the newest.
    pub(crate) heard: Option<Instant>,
    /// Why nothing new is ordered or heard.
    pub(crate) degraded: String,
    /// Why nothing can be written here for now.
    pub(crate) closed: Option<Failure>,
}

impl Following {
    /// Nothing is followed yet.
    pub(crate) fn new(health: Health) -> Self {
        Self { shared: Arc::default(), trouble: watch::Sender::default(), health }
    }

    /// As it is now.
    pub(crate) fn told(&self) -> Told {
        self.lock().clone()
    }

    /// This source was heard, and this is why nothing new is ordered there; whether it could know the newest.
    pub(crate) fn heard(&self, source: &Source, degraded: String, is_current: bool) {
        {
            let mut told = self.lock();
            told.source = Some(source.clone());
            told.heard = if is_current { Some(Instant::now()) } else { told.heard };
            told.degraded = degraded;
        }
        self.review();
    }

    /// Nobody is followed, for this reason.
    pub(crate) fn lost(&self, reason: String) {
        {
            let mut told = self.lock();
            told.source = None;
            told.degraded = reason;
        }
        self.review();
    }

    /// Nothing can be written for now, or, with none, again.
    pub(crate) fn close(&self, reason: Option<Failure>) {
        self.lock().closed = reason;
    }

    /// What was ordered cannot be applied, for this reason; or, if it is empty, it can again.
    pub(crate) fn trouble(&self, reason: String) {
        let is_news = self.trouble.send_if_modified(|trouble| {
            let is_news = *trouble != reason;
            *trouble = reason;
            is_news
        });
        if is_news {
            self.review();
        }
    }

    /// Returns when something keeps this replica from applying what is ordered, with what it is.
    pub(crate) async fn troubled(&self) -> String {
        let mut trouble = self.trouble.subscribe();
        let troubled = trouble.wait_for(|trouble| !trouble.is_empty()).await;
        troubled.map(|trouble| trouble.clone()).unwrap_or_default()
    }

    /// The daemon's health is what keeps it from its work: the disk before the control plane.
    fn review(&self) {
        let trouble = self.trouble.borrow().clone();
        let reason = if trouble.is_empty() { self.lock().degraded.clone() } else { trouble };
        if reason != self.health.reason() {
            self.health.degrade(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
