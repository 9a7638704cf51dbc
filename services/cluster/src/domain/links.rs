//! How a relay hears another domain: a stream from one of its nodes, the next one when that ends, and questions to it.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, Name, Uid, from_base64, to_base64};
use acp_io_client::{Client, Replies};
use acp_io_daemon::Tasks;
use acp_wire_api::cluster::{AskRelay, AskRelayRequest, Relay, RelayKnown, RelayReply, RelayRequest};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a node may take to answer at all: then the next one is asked.
const OPEN_MAX: Duration = Duration::from_millis(1_500);

/// The silence after which a stream counts as ended: its teller says something twice a second, so that a cut is noticed before the
/// transport does.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// The pause before the next node is asked.
const PAUSE: Duration = Duration::from_millis(200);

/// Questions that wait, and that are under way: what does not fit is asked again later.
const ASKS_MAX: usize = 16;
const ASKING_MAX: usize = 4;

/// What links have heard that waits for the domain's task: beyond it they wait.
pub(super) const NEWS_MAX: usize = 16;

/// What comes of a link.
#[derive(Debug)]
pub(super) struct News {
    /// Which one: what comes of an earlier one does not count.
    pub(super) number: u64,
    pub(super) domain: Arc<str>,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// It wants to know how far the domain's origins are followed.
    Begins(oneshot::Sender<Vec<RelayKnown>>),
    /// This node tells from now on; none: nobody does.
    Told(Option<Name>),
    /// These messages have come.
    Heard(Vec<Vec<u8>>),
}

/// A link to a domain, which ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) number: u64,
    asks: mpsc::Sender<Arc<[u8]>>,
    candidates: watch::Sender<Vec<Name>>,
    /// Who tells, and since when.
    pub(super) teller: Option<Name>,
    pub(super) since: acp_base::BootInstant,
    _stop: DropGuard,
}

impl Link {
    /// Begins with the node at this place among the candidates.
    pub(super) fn start(
        (number, domain): (u64, Arc<str>),
        first: usize,
        (candidates, client): (Vec<Name>, Client),
        news: mpsc::Sender<News>,
        (tasks, drain): (&Tasks, &CancellationToken),
    ) -> Self {
        let (candidates, candidates_told) = watch::channel(candidates);
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        let stop = drain.child_token();
        let task = Task { number, domain, client, news, asked, candidates: candidates_told };
        let ending = stop.clone();
        tasks.spawn("relay", async move {
            tokio::select! {
                () = ending.cancelled() => {}
                () = task.run(first) => {}
            }
        });
        Self { number, asks, candidates, teller: None, since: acp_io_daemon::boot_now(), _stop: stop.drop_guard() }
    }

    /// Who may be asked from now on.
    pub(super) fn set_candidates(&self, candidates: &[Name]) {
        self.candidates.send_if_modified(|known| {
            let is_new = known != candidates;
            if is_new {
                candidates.clone_into(known);
            }
            is_new
        });
    }

    /// Asks; without room it is asked again later.
    pub(super) fn ask(&self, message: Arc<[u8]>) {
        if self.asks.try_send(message).is_err() {
            tracing::debug!("a question to another domain finds no room");
        }
    }
}

struct Task {
    number: u64,
    domain: Arc<str>,
    client: Client,
    news: mpsc::Sender<News>,
    asked: mpsc::Receiver<Arc<[u8]>>,
    candidates: watch::Receiver<Vec<Name>>,
}

impl Task {
    /// Until the domain's task ends.
    async fn run(mut self, first: usize) {
        let mut turn = first;
        while !self.news.is_closed() {
            let candidates = self.candidates.borrow_and_update().clone();
            if let Some(teller) = candidates.get(turn % candidates.len().max(1)) {
                let failure = match self.open(teller).await {
                    Ok(stream) => self.hear(teller, stream).await,
                    Err(failure) => failure,
                };
                tracing::info!(domain = &*self.domain, node = %teller, reason = %failure, "a domain is not heard by this node");
            }
            turn += 1;
            sleep(PAUSE).await;
        }
    }

    async fn say(&self, what: What) -> Result<(), Failure> {
        let news = News { number: self.number, domain: Arc::clone(&self.domain), what };
        self.news.send(news).await.map_err(|_ended| Failure::unavailable("the cluster service is ending"))
    }

    async fn open(&self, teller: &Name) -> Result<Replies<Relay>, Failure> {
        let (answer, known) = oneshot::channel();
        self.say(What::Begins(answer)).await?;
        let known = known.await.map_err(|_ended| Failure::unavailable("the cluster service is ending"))?;
        let request = RelayRequest { domain: self.domain.to_string(), known };
        let service = self.client.on(Some(teller)).service("cluster").deadline(OPEN_MAX);
        let opening = timeout(OPEN_MAX, service.stream::<Relay>(request));
        opening.await.unwrap_or_else(|_elapsed| Err(Failure::unavailable("no answer")))
    }

    /// Why it ended.
    async fn hear(&mut self, teller: &Name, mut stream: Replies<Relay>) -> Failure {
        let (mut answers, mut is_told) = (JoinSet::new(), false);
        let failure = loop {
            let come = tokio::select! {
                reply = timeout(SILENCE_MAX, stream.next()) => match reply {
                    Ok(Some(Ok(reply))) => Some(reply),
                    Ok(Some(Err(failure))) => break failure,
                    Ok(None) => break Failure::unavailable("it has ended its stream"),
                    Err(_elapsed) => break Failure::unavailable(format!("it has said nothing for {SILENCE_MAX:?}")),
                },
                Some(message) = self.asked.recv(), if answers.len() < ASKING_MAX => {
                    answers.spawn(ask(self.client.clone(), teller.clone(), message));
                    None
                }
                Some(answer) = answers.join_next() => answer.ok().flatten(),
            };
            if !is_told {
                is_told = true;
                if let Err(failure) = self.say(What::Told(Some(teller.clone()))).await {
                    break failure;
                }
            }
            let messages = come.map(|reply| read(&reply)).unwrap_or_default();
            if !messages.is_empty()
                && let Err(failure) = self.say(What::Heard(messages)).await
            {
                break failure;
            }
        };
        match self.say(What::Told(None)).await {
            Ok(()) => failure,
            Err(ending) => ending,
        }
    }
}

async fn ask(client: Client, teller: Name, message: Arc<[u8]>) -> Option<RelayReply> {
    let request = AskRelayRequest { message: to_base64(&message) };
    let service = client.on(Some(&teller)).service("cluster").deadline(OPEN_MAX);
    let answer = service.call::<AskRelay>(request).await;
    answer
        .inspect_err(|failure| tracing::debug!(node = %teller, reason = %failure, "a question to another domain"))
        .ok()
}

/// What is no base64 is no message; replication counts what is none.
fn read(reply: &RelayReply) -> Vec<Vec<u8>> {
    reply.messages.iter().filter_map(|text| from_base64(text)).collect()
}

/// As it travels.
pub(super) fn known(node: Uid, incarnation: u64, contiguous: u64) -> RelayKnown {
    RelayKnown { node, incarnation, contiguous }
}
