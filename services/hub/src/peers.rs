//! The other voters' hubs: a conversation to each, kept open, on which frames of the log's replication, questions to the
//! leader and reports go and answers come back.
//!
//! Whoever dials asks; answers come on the same conversation. Two hubs that both ask have one each way.

mod dial;
mod frame;
mod serve;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{Failure, Uid};
use acp_io_client::Client;
use acp_io_daemon::Tasks;
use acp_io_raft::{Transport, Unreachable};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub(crate) use frame::Kind;
pub(crate) use serve::{Serving, serve};

use crate::{
    ask::{Answer, Ask},
    log::Replica,
};

/// Frames waiting for one peer. The log's replication has a few under way, and each caller that waits has one.
const OUTGOING_MAX: usize = 256;

/// Why a peer gave no answer.
#[derive(Debug)]
pub(crate) enum AskError {
    /// It was not asked.
    NotSent,
    /// It was asked; whether it did anything is not known.
    Lost(String),
    /// It says no.
    Answered(Failure),
}

/// An epoch that has begun at a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Of which cluster; of none before anything was found.
    pub(crate) cluster: Option<Uid>,
    /// Its number.
    pub(crate) epoch: u64,
}

/// What is to be sent to a peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    kind: Kind,
    body: Vec<u8>,
    /// Who waits for the answer; nobody for what is only told.
    answer: Option<oneshot::Sender<Result<Vec<u8>, AskError>>>,
}

/// The other voters' hubs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    replica: Replica,
    tasks: Tasks,
    drain: CancellationToken,
    known: Mutex<BTreeMap<Uid, mpsc::Sender<Outgoing>>>,
    /// The newest epoch that a peer was found in which has refused this hub.
    newest: watch::Sender<Begun>,
}

impl Peers {
    /// None yet; each is dialled when something is to be sent to it.
    pub(crate) fn new(client: Client, replica: Replica, tasks: Tasks, drain: CancellationToken) -> Self {
        let (known, newest) = (Mutex::default(), watch::Sender::default());
        Self { shared: Arc::new(Shared { client, replica, tasks, drain, known, newest }) }
    }

    /// Asks a peer and waits for its answer until the deadline.
    pub(crate) async fn ask(&self, to: Uid, ask: &Ask, deadline: Instant) -> Result<Answer, AskError> {
        let internal = |error: serde_json::Error| AskError::Answered(Failure::internal(error.to_string()));
        let body = serde_json::to_vec(ask).map_err(internal)?;
        let late = |_late| AskError::Lost("it did not answer in time".to_owned());
        let answer = timeout_at(deadline, self.send(to, Kind::Ask, body)).await.map_err(late)??;
        let unread = |error: serde_json::Error| AskError::Lost(format!("its answer is not understood: {error}"));
        let answer: Result<Answer, Failure> = serde_json::from_slice(&answer).map_err(unread)?;
        answer.map_err(AskError::Answered)
    }

    /// Tells a peer something. What cannot be sent now is not sent: the next one says more.
    pub(crate) fn tell(&self, to: Uid, kind: Kind, body: Vec<u8>) {
        drop(self.peer(to).try_send(Outgoing { kind, body, answer: None }));
    }

    /// Dials a peer, if that is not done, and keeps the way open.
    pub(crate) fn open(&self, to: Uid) {
        drop(self.peer(to));
    }

    /// The newest epoch that a controller was found in which has refused this hub, and each newer one.
    pub(crate) fn newest_epoch(&self) -> watch::Receiver<Begun> {
        self.shared.newest.subscribe()
    }

    /// Hangs up on everybody who is not among these.
    pub(crate) fn keep(&self, wanted: impl Fn(Uid) -> bool) {
        self.known().retain(|uid, _| wanted(*uid));
    }

    async fn send(&self, to: Uid, kind: Kind, body: Vec<u8>) -> Result<Vec<u8>, AskError> {
        let (answer, answered) = oneshot::channel();
        let outgoing = Outgoing { kind, body, answer: Some(answer) };
        self.peer(to).try_send(outgoing).map_err(|_full_or_gone| AskError::NotSent)?;
        // Dropped with the conversation at the drain: it may have been sent.
        answered.await.unwrap_or_else(|_dropped| Err(AskError::Lost("this hub is ending".to_owned())))
    }

    fn peer(&self, uid: Uid) -> mpsc::Sender<Outgoing> {
        let mut known = self.known();
        if let Some(sender) = known.get(&uid).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, outgoing) = mpsc::channel(OUTGOING_MAX);
        known.insert(uid, sender.clone());
        let Shared { client, replica, tasks, drain, newest, .. } = &*self.shared;
        let dialler = dial::Dialler::new(uid, client.clone(), replica.clone(), newest.clone(), outgoing);
        tasks.spawn("peer", dialler.run(drain.clone()));
        sender
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Uid, mpsc::Sender<Outgoing>>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for Peers {
    async fn call(&self, to: Uid, frame: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Unreachable> {
        let unreachable = |error| match error {
            AskError::NotSent => Unreachable(format!("the hub on node {to} is not connected")),
            AskError::Lost(reason) => Unreachable(format!("the hub on node {to}: {reason}")),
            AskError::Answered(failure) => Unreachable(failure.to_string()),
        };
        match timeout(limit, self.send(to, Kind::Raft, frame)).await {
            Ok(sent) => sent.map_err(unreachable),
            Err(_late) => Err(Unreachable(format!("the hub on node {to} did not answer within {limit:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a peer whose conversation does this with the question.
    async fn asked(meanwhile: impl FnOnce(Outgoing)) -> Result<Answer, AskError> {
        let (tasks, to) = (Tasks::default(), Uid::from_u128(7));
        let peers = Peers::new(Client::new("/nonexistent"), Replica::new(), tasks, CancellationToken::new());
        let (sender, mut outgoing) = mpsc::channel(1);
        peers.known().insert(to, sender);
        let deadline = Instant::now() + Duration::from_secs(30);
        let conversation = async { meanwhile(outgoing.recv().await.expect("a question")) };
        tokio::join!(peers.ask(to, &Ask::ReadIndex, deadline), conversation).0
    }

    #[tokio::test]
    async fn a_question_that_was_sent_counts_as_lost_whatever_ends_its_conversation() {
        let dropped = asked(drop).await;
        assert!(matches!(dropped, Err(AskError::Lost(_))), "{dropped:?}");
        let answer = |bytes: &'static [u8]| {
            move |question: Outgoing| {
                question.answer.expect("it is answered").send(Ok(bytes.to_vec())).expect("waited for")
            }
        };
        let unread = asked(answer(b"")).await;
        assert!(matches!(unread, Err(AskError::Lost(_))), "{unread:?}");
        let read = asked(answer(br#"{"Ok":{"index":7}}"#)).await;
        assert!(matches!(read, Ok(Answer::Index(7))), "{read:?}");
    }
}
