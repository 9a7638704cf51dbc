//! Tasks that are counted and waited for.

use std::{future::Future, time::Duration};

use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

/// Every task of a daemon. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// Starts a task; `name` tells what it does in logs.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let named = async move {
            future.await;
            tracing::trace!(task = name, "task ended");
        };
        self.tracker.spawn(named).abort_handle()
    }

    /// How many tasks run.
    pub fn count(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until every task has ended, at most `limit`; answers whether they have.
    pub async fn join(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }
}
