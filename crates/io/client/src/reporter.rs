//! Publishing a service's slots.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use acp_base::{Code, Failure, Uid};
use acp_io_varlink::CallContext;
use acp_wire_api::cluster::{Publish, PublishRequest, Report};
use acp_wire_model::{Kind, object::Facet};
use serde::Serialize;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{Client, Conversation};

/// Slots in one call: what the interface allows.
const BATCH_MAX: usize = 1000;
/// How long the cluster service may take for one batch before the conversation is given up.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a reporter says that it stands by the states it has said: well below the age at which people and the monitor
/// begin to doubt one.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The pause before everything is published again after a loss.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Keeps the cluster's copy of a service's slots equal to what the service said last. A newer value replaces one that was
/// not yet sent; after a restart of the cluster service everything is said again. A heartbeat confirms states that do
/// not change, so that their age is the age of the reporter's last word.
#[derive(Clone, Debug)]
pub struct Reporter {
    client: Client,
    incarnation: u64,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    slots: BTreeMap<(Uid, Facet), Report>,
    dirty: BTreeMap<(Uid, Facet), Kind>,
    sequence: u64,
}

impl Reporter {
    /// A reporter; nothing is sent until [`Reporter::run`] runs. `incarnation` never goes back between two lives of the
    /// service.
    pub fn new(client: Client, incarnation: u64) -> Self {
        Self { client, incarnation, shared: Arc::default() }
    }

    /// Says one slot. `name` is needed for reported kinds.
    pub fn put<T: Serialize>(&self, kind: Kind, uid: Uid, name: Option<String>, facet: Facet, value: &T) {
        let data = match serde_json::to_value(value) {
            Ok(data) => data,
            Err(error) => {
                tracing::error!(%kind, %uid, %error, "a slot cannot be written as JSON");
                return;
            }
        };
        let report = Report { kind, uid, name, facet, data: Some(data) };
        let mut state = self.lock();
        // A measurement is new although it is equal; a state that did not change is confirmed by the heartbeat.
        if facet == Facet::Stats || state.slots.get(&(uid, facet)) != Some(&report) {
            state.slots.insert((uid, facet), report);
            state.dirty.insert((uid, facet), kind);
            self.shared.changed.notify_one();
        }
    }

    /// Takes back both slots of an object.
    pub fn remove(&self, kind: Kind, uid: Uid) {
        let mut state = self.lock();
        for facet in [Facet::Meta, Facet::Stats] {
            if state.slots.remove(&(uid, facet)).is_some() {
                state.dirty.insert((uid, facet), kind);
                self.shared.changed.notify_one();
            }
        }
    }

    /// Publishes until `drain` is cancelled.
    pub async fn run(self, drain: CancellationToken) {
        loop {
            tokio::select! {
                () = drain.cancelled() => return,
                result = self.follow() => {
                    match result {
                        Err(failure) if failure.code != Code::Unavailable => {
                            tracing::warn!(code = failure.code.name(), %failure, "slots refused");
                        }
                        Err(failure) => tracing::debug!(%failure, "publishing interrupted"),
                        Ok(()) => {}
                    }
                }
            }
            tokio::select! {
                () = drain.cancelled() => return,
                () = tokio::time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    async fn follow(&self) -> Result<(), Failure> {
        let mut conversation = self.client.service("cluster").conversation().await?;
        self.publish_all(&mut conversation).await?;
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                () = self.shared.changed.notified() => {}
                _instant = heartbeat.tick() => self.send(&mut conversation, Vec::new(), false).await?,
                () = conversation.closed() => return Err(Failure::unavailable("the cluster service went away")),
            }
            while let Some(reports) = self.take_dirty() {
                self.send(&mut conversation, reports, false).await?;
            }
        }
    }

    async fn publish_all(&self, conversation: &mut Conversation) -> Result<(), Failure> {
        let all: Vec<Report> = {
            let mut state = self.lock();
            state.dirty.clear();
            state.slots.values().cloned().collect()
        };
        let mut batches = all.chunks(BATCH_MAX);
        self.send(conversation, batches.next().unwrap_or_default().to_vec(), true).await?;
        for batch in batches {
            self.send(conversation, batch.to_vec(), false).await?;
        }
        Ok(())
    }

    fn take_dirty(&self) -> Option<Vec<Report>> {
        let mut state = self.lock();
        let mut reports = Vec::new();
        while reports.len() < BATCH_MAX
            && let Some(((uid, facet), kind)) = state.dirty.pop_first()
        {
            let withdrawn = Report { kind, uid, name: None, facet, data: None };
            reports.push(state.slots.get(&(uid, facet)).cloned().unwrap_or(withdrawn));
        }
        (!reports.is_empty()).then_some(reports)
    }

    async fn send(&self, conversation: &mut Conversation, reports: Vec<Report>, replace: bool) -> Result<(), Failure> {
        let sequence = {
            let mut state = self.lock();
            state.sequence += 1;
            state.sequence
        };
        let request = PublishRequest { incarnation: self.incarnation, sequence, reports, replace };
        let call = conversation.call::<Publish>(&request, CallContext::default());
        match timeout(PUBLISH_TIMEOUT, call).await {
            Ok(Ok(reply)) => {
                tracing::trace!(sequence, unknown = reply.unknown.len(), "published");
                Ok(())
            }
            Ok(Err(failure)) => Err(failure),
            Err(_elapsed) => Err(Failure::unavailable("the cluster service takes no slots")),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
