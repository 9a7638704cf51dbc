//! Watches: the state, then changes, without gap.

use std::sync::Arc;

use acp_base::{BootInstant, Failure, Uid};
use acp_core_cdb::{Cursor, CursorError, Event, Rendered, View, WatchFilter};
use acp_io_daemon::{Call, Sink, boot_now};
use acp_wire_api::cluster::{Watch, WatchChange, WatchReply};
use serde::Serialize;

use super::{App, list::Batches, shares::OpenWatch, to_json};
use crate::{
    metrics,
    service::{Beginning, Told},
};

/// A [`WatchReply`] whose objects are JSON already.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    events: Vec<ReplyEvent<'a>>,
    cursor: String,
}

/// One of its events.
#[derive(Debug, Serialize)]
struct ReplyEvent<'a> {
    change: WatchChange,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Rendered<'a>>,
}

impl<'a> ReplyEvent<'a> {
    const fn bare(change: WatchChange) -> Self {
        Self { change, object: None }
    }

    const fn of(change: WatchChange, view: &'a View, now: BootInstant) -> Self {
        Self { change, object: Some(view.rendered(now)) }
    }
}

pub(super) async fn watch(app: Arc<App>, call: Call<Watch>, sink: Sink<Watch>) -> Result<WatchReply, Failure> {
    let open = app.shares.open_watch(&call.caller)?;
    let request = call.request;
    let cursor: Option<Cursor> = match &request.cursor {
        None => None,
        Some(text) => Some(text.parse().map_err(|error: CursorError| Failure::invalid(error.to_string()))?),
    };
    let filter =
        Arc::new(WatchFilter { kinds: request.kinds, without_stats: request.without_stats, here: request.here });
    let watcher = Watcher { app: Arc::clone(&app), filter, sink, open };
    let mut position = watcher.start(cursor).await?;
    loop {
        position = match app.database.follow(position, Arc::clone(&watcher.filter)).await? {
            Told::Lost => {
                metrics::resync();
                watcher.send_state(true).await?
            }
            Told::Events { events, position, cursor } => {
                let now = boot_now();
                let events = events.iter().map(|event| match event {
                    Event::Put(view) => ReplyEvent::of(WatchChange::Put, view, now),
                    Event::Delete(view) => ReplyEvent::of(WatchChange::Delete, view, now),
                });
                watcher.send(events.collect(), cursor).await?;
                position
            }
        };
    }
}

struct Watcher {
    app: Arc<App>,
    filter: Arc<WatchFilter>,
    sink: Sink<Watch>,
    open: OpenWatch,
}

impl Watcher {
    /// Goes on from the cursor if that is possible, else sends the state; answers the position to follow from.
    async fn start(&self, cursor: Option<Cursor>) -> Result<u64, Failure> {
        let Some(cursor) = cursor else { return self.send_state(false).await };
        match self.app.database.resume(cursor).await? {
            None => self.send_state(true).await,
            Some(position) => {
                self.send(vec![ReplyEvent::bare(WatchChange::Synced)], cursor).await?;
                Ok(position)
            }
        }
    }

    /// Sends every object, then that these were all.
    async fn send_state(&self, is_resync: bool) -> Result<u64, Failure> {
        let _listing = self.open.share().listing().await?;
        let Beginning { views, position, cursor } = self.app.database.begin(&self.filter).await?;
        // Half a state is nothing to go on from: whoever comes back with this cursor gets the state again.
        let incomplete = Cursor { boot: Uid::from_u128(0), ..cursor };
        let mut batches = Batches::new(&views);
        let mut events: Vec<_> = is_resync.then(|| ReplyEvent::bare(WatchChange::Resync)).into_iter().collect();
        loop {
            let (batch, now) = (batches.next_batch(), boot_now());
            events.extend(batch.iter().map(|view| ReplyEvent::of(WatchChange::Put, view, now)));
            if batches.is_empty() {
                events.push(ReplyEvent::bare(WatchChange::Synced));
                self.send(events, cursor).await?;
                return Ok(position);
            }
            self.send(std::mem::take(&mut events), incomplete).await?;
        }
    }

    async fn send(&self, events: Vec<ReplyEvent<'_>>, cursor: Cursor) -> Result<(), Failure> {
        let reply = to_json(&Reply { events, cursor: cursor.to_string() })?;
        self.sink.send_json(reply).await
    }
}
