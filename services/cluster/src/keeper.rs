//! Keeps the stored log short: a snapshot now and then, and retention. A reconciler: what it does depends on what is stored
//! and configured alone, and doing it twice is no harm.

use std::{sync::Arc, time::Duration};

use acp_core_cdb::Image;
use acp_io_daemon::wall_now;
use acp_io_store::{Anchor, Retention, Snapshot, Store, StoreError};
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{error::sentence, history::History, replica::encoded, service::Handle};

/// How often retention is looked at when nothing is written: it is counted in days.
const PERIOD: Duration = Duration::from_secs(3_600);

/// Writes snapshots when they are due and removes what retention does not want.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Arc<Store>,
    history: History,
    database: Handle,
    retention: Retention,
    due: Arc<Notify>,
}

impl Keeper {
    /// A keeper of this store; `due` asks for a snapshot.
    pub(crate) const fn new(
        store: Arc<Store>,
        history: History,
        database: Handle,
        retention: Retention,
        due: Arc<Notify>,
    ) -> Self {
        Self { store, history, database, retention, due }
    }

    /// Runs until the drain.
    pub(crate) async fn run(self, drain: CancellationToken) {
        let mut period = tokio::time::interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                () = self.due.notified() => self.snapshot().await,
                _tick = period.tick() => {}
            }
            self.compact().await;
        }
    }

    async fn snapshot(&self) {
        let Ok(Some(image)) = self.database.image().await else { return };
        let at = Anchor { index: image.index(), hash: image.hash().bytes(), time_ms: image.time().0 };
        // Encoding a full cluster takes longer than a watcher should wait for its event.
        let bytes = match tokio::task::spawn_blocking(|| Image::encode(image)).await {
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!(%error, "a snapshot could not be encoded"),
        };
        let size_bytes = bytes.len();
        match self.store.snapshot(Snapshot { at, bytes }).await {
            Ok(()) => tracing::debug!(index = at.index, size_bytes, "snapshot written"),
            Err(error) => tracing::warn!(reason = sentence(&error), "no snapshot could be written; the log grows on"),
        }
    }

    /// Removes what retention does not want. First the state where the log is cut is made a snapshot: from there on specs can
    /// still be asked for.
    async fn compact(&self) {
        let removed = match self.store.cut(self.retention, wall_now().0).await {
            Ok(None) => return,
            Ok(Some(cut)) => self.cut(cut).await,
            Err(error) => Err(sentence(&error)),
        };
        match removed {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "entries beyond retention removed"),
            Err(reason) => tracing::warn!(reason, "old entries could not be removed"),
        }
    }

    async fn cut(&self, cut: Anchor) -> Result<u64, String> {
        let told = |error: StoreError| sentence(&error);
        if self.store.anchor().await.map_err(told)?.index < cut.index {
            let state = self.history.at(cut.index).await.map_err(|failure| failure.message)?;
            let made = tokio::task::spawn_blocking(move || encoded(state)).await.ok().flatten();
            let bytes = made.ok_or("the state at the anchor could not be encoded")?.bytes;
            self.store.set_anchor(Snapshot { at: cut, bytes }).await.map_err(told)?;
        }
        self.store.trim(cut.index).await.map_err(told)
    }
}
