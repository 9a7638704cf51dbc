//! The way to one peer: dialled again and again, with frames going out and answers coming in as long as it stands.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use acp_base::{Code, Failure, Uid};
use acp_io_client::{Client, Upgraded};
use acp_wire_api::{
    Empty,
    hub::{GetQuorum, Raft, RaftRequest},
};
use tokio::{
    io::AsyncWrite,
    sync::{Notify, mpsc, oneshot, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    AskError, Begun, Outgoing,
    frame::{Frame, Frames, Kind, write},
};
use crate::{founding::epoch_number, log::Replica};

/// How long dialling may take. An election does not wait longer for anybody.
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// The pauses between attempts to dial: short, because a voter that is back is needed, and not so short that they cost.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// After how long without any frame the other end is asked whether it is there, if answers are due.
const PING_AFTER: Duration = Duration::from_secs(1);

/// After how many such pauses in a row a conversation is given up: the way is gone, and nobody has said so.
const PINGS_MAX: u32 = 3;

/// Questions under way on a conversation. One more is not sent.
const IN_FLIGHT_MAX: usize = 256;

type Waiting = oneshot::Sender<Result<Vec<u8>, AskError>>;

/// Who keeps the way to one peer.
#[derive(Debug)]
pub(super) struct Dialler {
    peer: Uid,
    client: Client,
    replica: Replica,
    newest: watch::Sender<Begun>,
    outgoing: mpsc::Receiver<Outgoing>,
}

impl Dialler {
    /// `newest` is told of epochs that have begun at peers.
    pub(super) const fn new(
        peer: Uid,
        client: Client,
        replica: Replica,
        newest: watch::Sender<Begun>,
        outgoing: mpsc::Receiver<Outgoing>,
    ) -> Self {
        Self { peer, client, replica, newest, outgoing }
    }

    /// Runs until nobody wants this peer any more, or the drain.
    pub(super) async fn run(mut self, drain: CancellationToken) {
        tokio::select! {
            () = drain.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        let mut pause = PAUSE_MIN;
        loop {
            let dialled = dial(self.peer, &self.client, &self.replica, &self.newest);
            let Some(dialled) = while_refusing(&mut self.outgoing, dialled).await else { return };
            match dialled {
                Ok(way) => {
                    tracing::debug!(peer = %self.peer, "connected to a voter");
                    pause = PAUSE_MIN;
                    let Some(error) = Conversation::default().hold(way, &mut self.outgoing).await else { return };
                    tracing::debug!(peer = %self.peer, %error, "the conversation with a voter has ended");
                }
                Err(failure) => tracing::debug!(peer = %self.peer, reason = %failure, "a voter is not reached"),
            }
            if while_refusing(&mut self.outgoing, sleep(pause)).await.is_none() {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

async fn dial(
    peer: Uid,
    client: &Client,
    replica: &Replica,
    newest: &watch::Sender<Begun>,
) -> Result<Upgraded, Failure> {
    let at = *replica.position().borrow();
    let cluster = at.cluster.ok_or_else(|| Failure::precondition("no cluster was founded here"))?;
    let snapshot = replica.snapshot();
    let member = snapshot.state.members().get(&peer);
    let name = &member.ok_or_else(|| Failure::not_found("it is no member any more"))?.name;
    let request = RaftRequest { cluster, epoch: at.epoch_text() };
    let hub = client.on(Some(name)).service("hub").deadline(DIAL_LIMIT);
    let way = hub.upgrade::<Raft>(request).await.map(|(_reply, way)| way);
    if way.as_ref().is_err_and(|refused| refused.code == Code::PermissionDenied)
        && snapshot.is_controller(peer)
        && let Ok(status) = client.on(Some(name)).service("hub").deadline(DIAL_LIMIT).call::<GetQuorum>(Empty {}).await
    {
        // It may have begun another epoch, in which this hub has no part.
        let begun = Begun { cluster: Some(cluster), epoch: epoch_number(&status.epoch) };
        newest.send_if_modified(|known| {
            let is_news = known.cluster != begun.cluster || known.epoch < begun.epoch;
            *known = if is_news { begun } else { *known };
            is_news
        });
    }
    way
}

/// Does something while nothing can be sent; none if nobody wants to send anything any more.
async fn while_refusing<T>(outgoing: &mut mpsc::Receiver<Outgoing>, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Some(done),
            refused = outgoing.recv() => {
                if let Some(answer) = refused?.answer {
                    drop(answer.send(Err(AskError::NotSent)));
                }
            }
        }
    }
}

/// What is under way on one conversation.
#[derive(Debug, Default)]
struct Conversation {
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    last: AtomicU64,
    ping: Notify,
}

impl Conversation {
    /// Sends and receives until the way is gone, and says why; none if nobody wants to send anything any more.
    async fn hold(self, way: Upgraded, outgoing: &mut mpsc::Receiver<Outgoing>) -> Option<io::Error> {
        let (reader, mut writer) = tokio::io::split(way);
        let ended = tokio::select! {
            sent = self.send(&mut writer, outgoing) => sent.err(),
            received = self.receive(Frames::new(reader)) => received.err(),
        };
        let reason = ended.as_ref().map_or_else(|| "it is no voter any more".to_owned(), ToString::to_string);
        let left = std::mem::take(&mut *self.waiting());
        for waiting in left.into_values() {
            drop(waiting.send(Err(AskError::Lost(reason.clone()))));
        }
        ended
    }

    async fn send<W: AsyncWrite + Unpin>(
        &self,
        writer: &mut W,
        outgoing: &mut mpsc::Receiver<Outgoing>,
    ) -> io::Result<()> {
        loop {
            let next = tokio::select! {
                () = self.ping.notified() => {
                    write(writer, &Frame { kind: Kind::Ping, number: 0, body: Vec::new() }).await?;
                    continue;
                }
                next = outgoing.recv() => next,
            };
            let Some(Outgoing { kind, body, answer }) = next else { return Ok(()) };
            let number = match answer {
                Some(answer) => match self.note(answer) {
                    Some(number) => number,
                    None => continue,
                },
                None => 0,
            };
            write(writer, &Frame { kind, number, body }).await?;
        }
    }

    async fn receive<R: tokio::io::AsyncRead + Unpin>(&self, mut frames: Frames<R>) -> io::Result<()> {
        let mut silent = 0;
        loop {
            match timeout(PING_AFTER, frames.next()).await {
                Ok(frame) => {
                    self.answer(frame?)?;
                    silent = 0;
                }
                Err(_silent) if self.waiting().is_empty() => silent = 0,
                Err(_silent) if silent < PINGS_MAX => {
                    silent += 1;
                    self.ping.notify_one();
                }
                Err(_silent) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn answer(&self, frame: Frame) -> io::Result<()> {
        if frame.kind != Kind::Answer {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "whoever was dialled asks nothing"));
        }
        let waiting = self.waiting().remove(&frame.number);
        if let Some(waiting) = waiting {
            drop(waiting.send(Ok(frame.body)));
        }
        Ok(())
    }

    /// The number under which an answer is waited for; none, and the asker told, if there are too many.
    fn note(&self, answer: Waiting) -> Option<u64> {
        let mut waiting = self.waiting();
        if waiting.len() >= IN_FLIGHT_MAX {
            waiting.retain(|_, answer| !answer.is_closed());
        }
        if waiting.len() >= IN_FLIGHT_MAX {
            drop(answer.send(Err(AskError::NotSent)));
            return None;
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        waiting.insert(number, answer);
        Some(number)
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
