//! Its log, for those who follow.

use std::{sync::PoisonError, time::Duration};

use acp_base::{Failure, to_base64};
use acp_io_daemon::Sink;
use acp_wire_api::{
    cluster::{Checkpoint, FollowReply, FollowRequest, SnapshotPiece},
    hub::Follow,
};
use tokio::time::timeout;

use super::{HubStandIn, no_log};

/// How long a stream is silent at most: shorter than the product's, so that no test waits for it.
const HEARTBEAT: Duration = Duration::from_millis(200);

/// Entries in a reply.
const ENTRIES_MAX: usize = 512;

/// Bytes of a piece: small, so that a test's snapshot has several.
const PIECE_BYTES: usize = 512;

pub(super) async fn follow(hub: HubStandIn, from: FollowRequest, sink: Sink<Follow>) -> Result<FollowReply, Failure> {
    let mut changes = hub.shared.changes.subscribe();
    let mut next = hub.start(&from, &sink).await?;
    loop {
        changes.mark_unchanged();
        let (reply, after) = hub.reply(next)?;
        hub.send(&sink, reply).await?;
        next = after;
        if hub.has_after(next) {
            continue;
        }
        if let Ok(Err(_gone)) = timeout(HEARTBEAT, changes.changed()).await {
            return Err(Failure::unavailable("the hub is ending"));
        }
    }
}

impl HubStandIn {
    /// Sends a snapshot if the follower's place is not in the log; answers the index from which entries follow.
    async fn start(&self, from: &FollowRequest, sink: &Sink<Follow>) -> Result<u64, Failure> {
        let pieces = {
            let log = self.log();
            let cluster = log.state().identity().ok_or_else(no_log)?.cluster;
            let hash = log.hash_at(from.index).map(|hash| hash.to_string());
            if cluster == from.cluster && hash.as_deref() == Some(from.hash.as_str()) {
                return Ok(from.index);
            }
            if cluster != from.cluster && !from.any_cluster {
                return Err(Failure::precondition("this is the log of another cluster"));
            }
            log.image().map(|image| (log.base(), image.to_vec()))
        };
        let Some((index, image)) = pieces else { return Ok(0) };
        let total = u64::try_from(image.len()).unwrap_or(u64::MAX);
        let mut offset = 0;
        for piece in image.chunks(PIECE_BYTES) {
            let snapshot = Some(SnapshotPiece { index, offset, total, bytes: to_base64(piece) });
            offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            let head = self.log().state().index();
            let reply = FollowReply { snapshot, entries: Vec::new(), checkpoint: None, head, degraded: self.reason() };
            self.send(sink, reply).await?;
        }
        Ok(index)
    }

    /// The next reply after an index, and the index after it.
    fn reply(&self, index: u64) -> Result<(FollowReply, u64), Failure> {
        let log = self.log();
        let state = log.state();
        let identity = state.identity().ok_or_else(no_log)?;
        let entries: Vec<String> = log.after(index, ENTRIES_MAX).map(|bytes| to_base64(bytes)).collect();
        let after = index + u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let unsigned = Checkpoint {
            cluster: identity.cluster,
            epoch: state.epoch().map(|epoch| epoch.to_string()).unwrap_or_default(),
            index: after,
            hash: log.hash_at(after).map(|hash| hash.to_string()).unwrap_or_default(),
            signer: identity.node,
            signature: String::new(),
        };
        let head = state.index();
        drop(log);
        let checkpoint = Some(self.sign(unsigned));
        Ok((FollowReply { snapshot: None, entries, checkpoint, head, degraded: self.reason() }, after))
    }

    fn has_after(&self, index: u64) -> bool {
        self.log().state().index() > index
    }

    async fn send(&self, sink: &Sink<Follow>, reply: FollowReply) -> Result<(), Failure> {
        let reply = match &mut *self.shared.tamper.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tamper) => tamper(reply),
            None => Some(reply),
        };
        match reply {
            Some(reply) => sink.send(reply).await,
            None => Ok(()),
        }
    }
}
