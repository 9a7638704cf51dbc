//! The log, told to replicas: from where each stands, or a snapshot first.
//!
//! This node's own replica is told what is applied here; all others what a majority has applied, with a checkpoint at the end
//! of each reply.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, to_base64, to_hex};
use acp_core_cdb::State;
use acp_io_daemon::{Call, Sink};
use acp_wire_api::{
    cluster::{Checkpoint, FollowReply, FollowRequest, SnapshotPiece},
    hub as api,
};
use tokio::time::Instant;

use super::App;
use crate::{founding::epoch_number, log::Page, seat::blocking};

/// How long it is silent at most. The interface promises 2 seconds; the rest is for the way.
const HEARTBEAT: Duration = Duration::from_millis(1_500);

/// Bytes of a snapshot in one reply.
const PIECE_BYTES: usize = 512 << 10;

/// Whether and where a replica can go on.
enum Beginning {
    /// After this index.
    After(u64),
    /// It has more than this hub: wait until that is here.
    Wait,
    /// With a snapshot.
    Anew,
}

/// A replica that follows.
struct Follower {
    app: Arc<App>,
    sink: Sink<api::Follow>,
    /// Whether it is this node's own.
    is_ours: bool,
}

/// Tells a replica the log until it is gone.
pub(super) async fn follow(
    app: Arc<App>,
    call: Call<api::Follow>,
    sink: Sink<api::Follow>,
) -> Result<FollowReply, Failure> {
    let is_ours = call.caller.principal().is_none();
    let follower = Follower { app, sink, is_ours };
    match follower.run(call.request).await {
        Err(failure) => Err(failure),
        Ok(never) => match never {},
    }
}

impl Follower {
    async fn run(&self, request: FollowRequest) -> Result<std::convert::Infallible, Failure> {
        let mut at = loop {
            match self.beginning(&request)? {
                Beginning::After(index) => break index,
                Beginning::Anew => break self.send_snapshot().await?,
                Beginning::Wait => self.wait(self.up_to()).await?,
            }
        };
        // Whoever has everything is told at once that it has.
        self.sink.send(self.reply()).await?;
        loop {
            self.wait(at).await?;
            let up_to = self.up_to();
            if up_to <= at {
                continue;
            }
            at = match self.app.replica.page(at, up_to) {
                Some(page) => self.send_page(page).await?,
                // It was too slow, or this hub has begun anew.
                None => self.send_snapshot().await?,
            };
        }
    }

    fn beginning(&self, request: &FollowRequest) -> Result<Beginning, Failure> {
        let at = *self.app.replica.position().borrow();
        let cluster = at.cluster.ok_or_else(|| self.app.seat.no_log())?;
        if request.cluster != cluster && self.is_ours && request.any_cluster {
            return Ok(Beginning::Anew);
        }
        if request.cluster != cluster {
            let text = format!("this is the log of cluster {cluster}, not of {}", request.cluster);
            return Err(Failure::precondition(text));
        }
        if epoch_number(&request.epoch) > epoch_number(&at.epoch_text()) {
            let text = format!("the replica is in epoch {}, this hub in {} still", request.epoch, at.epoch_text());
            return Err(Failure::unavailable(text));
        }
        if request.index > at.index {
            let is_ahead = request.epoch == at.epoch_text();
            return Ok(if is_ahead { Beginning::Wait } else { Beginning::Anew });
        }
        let is_on_the_chain =
            self.app.replica.hash_at(request.index).is_some_and(|hash| to_hex(&hash.bytes()) == request.hash);
        Ok(if is_on_the_chain { Beginning::After(request.index) } else { Beginning::Anew })
    }

    /// The last index that may be sent.
    fn up_to(&self) -> u64 {
        let applied = self.app.replica.position().borrow().index;
        if self.is_ours { applied } else { self.checkpoint().map_or(0, |checkpoint| checkpoint.index.min(applied)) }
    }

    /// The newest checkpoint of this epoch.
    fn checkpoint(&self) -> Option<Checkpoint> {
        let epoch = self.app.replica.position().borrow().epoch_text();
        self.app.spread.checkpoint().borrow().clone().filter(|checkpoint| checkpoint.epoch == epoch)
    }

    fn reply(&self) -> FollowReply {
        FollowReply {
            snapshot: None,
            entries: Vec::new(),
            checkpoint: None,
            head: self.app.replica.position().borrow().index,
            degraded: self.app.degraded.reason(),
        }
    }

    /// Returns when there may be something after an index. Says meanwhile that this hub is there.
    async fn wait(&self, at: u64) -> Result<(), Failure> {
        let (mut position, mut checkpoint) = (self.app.replica.position(), self.app.spread.checkpoint());
        let mut degraded = self.app.degraded.watch();
        let ending = |_gone| Failure::unavailable("the hub is ending");
        let mut due = Instant::now() + HEARTBEAT;
        loop {
            position.mark_unchanged();
            checkpoint.mark_unchanged();
            degraded.mark_unchanged();
            if position.borrow().cluster.is_none() {
                return Err(self.app.seat.no_log());
            }
            if self.up_to() > at {
                return Ok(());
            }
            tokio::select! {
                changed = position.changed() => changed.map_err(ending)?,
                changed = checkpoint.changed() => changed.map_err(ending)?,
                changed = degraded.changed() => {
                    changed.map_err(ending)?;
                    self.sink.send(self.reply()).await?;
                }
                () = tokio::time::sleep_until(due) => {
                    self.sink.send(self.reply()).await?;
                    due = Instant::now() + HEARTBEAT;
                }
            }
        }
    }

    async fn send_page(&self, page: Page) -> Result<u64, Failure> {
        let Page { entries, last, hash } = page;
        let checkpoint = if self.is_ours { None } else { self.app.spread.vouch(last, hash) };
        let entries = entries.iter().map(|bytes| to_base64(bytes)).collect();
        self.sink.send(FollowReply { entries, checkpoint, ..self.reply() }).await?;
        Ok(last)
    }

    /// Sends the state as it is now, once it may be sent; answers where it stands.
    async fn send_snapshot(&self) -> Result<u64, Failure> {
        let image = self.app.replica.read(State::image).ok_or_else(|| self.app.seat.no_log())?;
        let (index, hash) = (image.index(), image.hash());
        while self.up_to() < index {
            self.wait(self.up_to()).await?;
        }
        let bytes = blocking(move || image.encode()).await?;
        let total = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let mut offset = 0;
        for piece in bytes.chunks(PIECE_BYTES) {
            let snapshot = Some(SnapshotPiece { index, offset, total, bytes: to_base64(piece) });
            let checkpoint = if self.is_ours { None } else { self.app.spread.vouch(index, hash) };
            self.sink.send(FollowReply { snapshot, checkpoint, ..self.reply() }).await?;
            offset += u64::try_from(piece.len()).unwrap_or(u64::MAX);
        }
        Ok(index)
    }
}
