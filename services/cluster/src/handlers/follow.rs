//! The log for neighbours that have fallen behind: what somebody vouches for, and nothing after it.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, to_base64};
use acp_core_cdb::Hash;
use acp_io_daemon::{Call, Sink};
use acp_wire_api::cluster::{Checkpoint, Follow, FollowReply, FollowRequest};
use tokio::time::timeout;

use super::App;
use crate::error::read_failure;

/// How long a stream is silent at most. The interface promises 2 seconds; the rest is for the way.
const HEARTBEAT: Duration = Duration::from_millis(1_500);

pub(super) async fn follow(app: Arc<App>, call: Call<Follow>, sink: Sink<Follow>) -> Result<FollowReply, Failure> {
    let _open = app.shares.open_watch(&call.caller)?;
    let mut checkpoints = app.checkpoint.clone();
    app.is_on_chain(&call.request).await?;
    let mut next = call.request.index + 1;
    loop {
        let checkpoint = checkpoints.borrow_and_update().clone();
        match checkpoint {
            Some(checkpoint) => next = app.send_up_to(checkpoint, next, &sink).await?,
            None => sink.send(app.word(Vec::new(), None)).await?,
        }
        // A heartbeat is the newest checkpoint again.
        if let Ok(Err(_gone)) = timeout(HEARTBEAT, checkpoints.changed()).await {
            return Err(Failure::unavailable("the cluster service is ending"));
        }
    }
}

impl App {
    /// Sends what lies between and then the checkpoint; answers the next index.
    async fn send_up_to(&self, checkpoint: Checkpoint, from: u64, sink: &Sink<Follow>) -> Result<u64, Failure> {
        let mut next = from;
        while next <= checkpoint.index {
            let page = self.store.read(next, checkpoint.index).await.map_err(|error| read_failure(&error))?;
            let Some(last) = page.rows.last().map(|row| row.index) else { break };
            let entries = page.rows.iter().map(|row| to_base64(&row.bytes)).collect();
            sink.send(self.word(entries, None)).await?;
            next = last + 1;
        }
        sink.send(self.word(Vec::new(), Some(checkpoint))).await?;
        Ok(next)
    }

    fn word(&self, entries: Vec<String>, checkpoint: Option<Checkpoint>) -> FollowReply {
        let degraded = self.following.told().degraded;
        FollowReply { snapshot: None, entries, checkpoint, head: *self.noted.borrow(), degraded }
    }

    /// Whether the replica that asks stands where this one has been. One that does not needs a snapshot, which a controller
    /// has to give: nobody else could be believed.
    async fn is_on_chain(&self, request: &FollowRequest) -> Result<(), Failure> {
        let (cluster, index, hash) = self
            .database
            .look(|state| (state.identity().map(|known| known.cluster), state.index(), state.hash()))
            .await?;
        if cluster != Some(request.cluster) {
            return Err(Failure::precondition("this node is in another cluster"));
        }
        let asks = |what: &str| Failure::precondition(format!("{what} here: ask a controller"));
        let known = match request.index {
            0 => Hash::ZERO,
            at if at == index => hash,
            at if at > index => return Err(asks("that entry has not come")),
            at => {
                let page = self.store.read(at, at).await.map_err(|_compacted| asks("that entry is no longer kept"))?;
                let row = page.rows.first().ok_or_else(|| asks("that entry is not"))?;
                Hash::from_bytes(row.hash)
            }
        };
        if known.to_string() == request.hash { Ok(()) } else { Err(asks("that entry is another one")) }
    }
}
