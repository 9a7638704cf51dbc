//! Following objects across restarts of the cluster service.

use std::{collections::VecDeque, time::Duration};

use acp_base::Failure;
use acp_wire_api::cluster::{Watch, WatchChange, WatchEvent, WatchRequest};
use acp_wire_model::{Kind, Object};

use crate::{Client, Replies};

/// The pause before a lost watch is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What happened to the objects watched.
#[derive(Clone, Debug, PartialEq)]
pub enum ObjectEvent {
    /// An object is as given.
    Put(Object),
    /// An object is gone; as it was last.
    Delete(Object),
    /// Every object has been said once.
    Synced,
    /// Forget everything, the state comes again.
    Resync,
}

/// A watch that is taken up again whenever it is lost, with the whole state.
#[derive(Debug)]
pub struct ObjectWatch {
    client: Client,
    kinds: Vec<Kind>,
    replies: Option<Replies<Watch>>,
    ready: VecDeque<ObjectEvent>,
    is_first: bool,
}

impl ObjectWatch {
    /// Follows all objects of these kinds, without their stats.
    pub fn new(client: Client, kinds: Vec<Kind>) -> Self {
        Self { client, kinds, replies: None, ready: VecDeque::new(), is_first: true }
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> ObjectEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            if let Err(failure) = self.fill().await {
                tracing::debug!(%failure, "watch of objects lost");
                self.replies = None;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        if self.replies.is_none() {
            let request =
                WatchRequest { kinds: self.kinds.clone(), cursor: None, without_stats: true, here: Some(true) };
            self.replies = Some(self.client.service("cluster").stream::<Watch>(request).await?);
            if !std::mem::take(&mut self.is_first) {
                self.ready.push_back(ObjectEvent::Resync);
            }
        }
        let replies = self.replies.as_mut().expect("it was just asked for");
        let reply = replies.next().await.unwrap_or_else(|| Err(Failure::unavailable("the watch ended")))?;
        self.ready.extend(reply.events.into_iter().filter_map(event));
        Ok(())
    }
}

fn event(event: WatchEvent) -> Option<ObjectEvent> {
    match (event.change, event.object) {
        (WatchChange::Put, Some(object)) => Some(ObjectEvent::Put(object)),
        (WatchChange::Delete, Some(object)) => Some(ObjectEvent::Delete(object)),
        (WatchChange::Synced, _) => Some(ObjectEvent::Synced),
        (WatchChange::Resync, _) => Some(ObjectEvent::Resync),
        (WatchChange::Put | WatchChange::Delete, None) => None,
    }
}
