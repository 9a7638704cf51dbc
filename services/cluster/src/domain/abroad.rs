//! Other domains: whether this node is a relay, whom it hears then, and whom it tells.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use acp_base::{BootInstant, Failure, Uid};
use acp_core_swim::{
    Ring, State,
    relays::{RELAYS, ranked},
};
use acp_core_sync::{LinkId, Origin, Sync, limits::SILENT_AFTER, wire::Known};
use acp_io_client::Client;
use acp_io_daemon::{Tasks, boot_now};
use acp_wire_api::cluster::{DomainLink, RelayRequest};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    links::{Link, NEWS_MAX, News, What, known},
    roster::Roster,
};

/// How long after its start a node knows who of its domain is there: probes and digests have come by then.
const KNOWS_AFTER: Duration = Duration::from_secs(3);

/// For how long a node that is no relay any more goes on as one: who is suspected for a moment and is not does not make links come and go.
const LINGER: Duration = Duration::from_secs(10);

/// How often it is looked who is a relay, besides when the ring says something.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Messages that wait to be sent to one relay of another domain: a reply or two. There they are as old as the stream is slow.
pub(super) const WORDS_MAX: usize = 64;

/// How soon a link without room is looked at again.
const ROOM_PAUSE: Duration = Duration::from_millis(4);

/// Messages on their way to whoever asked for them.
pub(crate) type Words = mpsc::Receiver<Arc<[u8]>>;

/// Other domains.
#[derive(Debug)]
pub(super) struct Abroad {
    client: Client,
    tasks: Tasks,
    drain: CancellationToken,
    node: Uid,
    began: BootInstant,
    look_at: BootInstant,
    /// The relays of this domain, in order.
    relays: Vec<Uid>,
    /// When this node was last one of them.
    was_relay: Option<BootInstant>,
    links: BTreeMap<Arc<str>, Link>,
    numbers: u64,
    news: mpsc::Sender<News>,
    heard: mpsc::Receiver<News>,
    tellings: BTreeMap<LinkId, mpsc::Sender<Arc<[u8]>>>,
    room_at: Option<BootInstant>,
}

impl Abroad {
    pub(super) fn new(node: Uid, client: Client, tasks: &Tasks, drain: &CancellationToken) -> Self {
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let began = boot_now();
        Self {
            client,
            tasks: tasks.clone(),
            drain: drain.clone(),
            node,
            began,
            look_at: began + KNOWS_AFTER,
            relays: Vec::new(),
            was_relay: None,
            links: BTreeMap::new(),
            numbers: 0,
            news,
            heard,
            tellings: BTreeMap::new(),
            room_at: None,
        }
    }

    /// All links end: they are of another life.
    pub(super) fn begin_again(&mut self, now: BootInstant) {
        self.links.clear();
        self.tellings.clear();
        self.relays.clear();
        self.was_relay = None;
        (self.began, self.look_at) = (now, now + KNOWS_AFTER);
    }

    pub(super) fn next_deadline(&self) -> BootInstant {
        self.room_at.map_or(self.look_at, |at| at.min(self.look_at))
    }

    /// It is looked soon who is a relay: somebody has come or gone.
    pub(super) fn look_soon(&mut self, now: BootInstant) {
        self.look_at = self.look_at.min(now.max(self.began + KNOWS_AFTER));
    }

    /// Who is a relay, and whom it hears.
    pub(super) fn look(&mut self, now: BootInstant, roster: &Roster, ring: &Ring, sync: &mut Sync) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let others = roster.others();
        let relays = if others.is_empty() { Vec::new() } else { relays(now, self.node, roster, ring, sync) };
        let rank = self.rank(now, &relays);
        if self.relays != relays {
            let names = relays.iter().map(|node| roster.name(*node).map_or("this node", |name| name.as_str()));
            tracing::info!(relays = names.collect::<Vec<_>>().join(" "), "the relays of the domain");
            self.relays = relays;
        }
        sync.set_relay(rank.and_then(|rank| u8::try_from(rank).ok()));
        let is_wanted = |domain: &Arc<str>| rank.is_some() && others.contains_key(domain);
        let ended: Vec<Arc<str>> = self.links.keys().filter(|domain| !is_wanted(domain)).cloned().collect();
        for domain in ended {
            self.links.remove(&domain);
            sync.set_linked(domain, false);
        }
        if let Some(rank) = rank {
            for (domain, candidates) in others {
                match self.links.get(&domain) {
                    Some(link) => link.set_candidates(&candidates),
                    None => self.start(domain, rank, candidates),
                }
            }
        }
    }

    /// How many relays come before this node, if it is one or was one a moment ago.
    fn rank(&mut self, now: BootInstant, relays: &[Uid]) -> Option<usize> {
        let rank = relays.iter().position(|node| *node == self.node);
        if rank.is_some() {
            self.was_relay = Some(now);
        }
        rank.or_else(|| self.was_relay.filter(|at| now.since(*at) < LINGER).map(|_at| relays.len()))
    }

    /// Relays begin at different nodes, so that the loss of one of these concerns one of them.
    fn start(&mut self, domain: Arc<str>, rank: usize, candidates: Vec<acp_base::Name>) {
        self.numbers += 1;
        let around = (&self.tasks, &self.drain);
        let from = (candidates, self.client.clone());
        let link = Link::start((self.numbers, Arc::clone(&domain)), rank, from, self.news.clone(), around);
        self.links.insert(domain, link);
    }

    /// What comes of links next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        self.heard.recv().await
    }

    /// Takes what came of a link.
    pub(super) fn take(&mut self, now: BootInstant, sync: &mut Sync, News { number, domain, what }: News) {
        let Some(link) = self.links.get_mut(&domain).filter(|link| link.number == number) else { return };
        match what {
            What::Begins(answer) => {
                let all = sync.known_of(now, &domain);
                let all =
                    all.iter().map(|one| known(one.origin.node, one.origin.incarnation, one.contiguous)).collect();
                // A link that has ended meanwhile needs no answer.
                drop(answer.send(all));
            }
            What::Told(teller) => {
                let node = teller.as_ref().map(ToString::to_string);
                tracing::info!(domain = &*domain, node, "who tells of a domain");
                (link.teller, link.since) = (teller, now);
                sync.set_linked(domain, link.teller.is_some());
            }
            What::Heard(messages) => {
                for message in messages {
                    if let Err(refused) = sync.receive_from(now, &domain, &message) {
                        tracing::debug!(domain = &*domain, reason = %refused, "a message of a relay is refused");
                    }
                }
            }
        }
    }

    /// Asks whoever tells of a domain.
    pub(super) fn ask(&self, domain: &str, message: Arc<[u8]>) {
        if let Some(link) = self.links.get(domain) {
            link.ask(message);
        }
    }

    /// A relay of another domain wants to be told of this one.
    pub(super) fn open(&mut self, sync: &mut Sync, domain: &str, request: RelayRequest) -> Result<Words, Failure> {
        if request.domain != *domain {
            let text = format!("this node is of domain {domain}, not of {}", request.domain);
            return Err(Failure::precondition(text));
        }
        let known: Vec<Known> = request
            .known
            .iter()
            .map(|known| Known {
                origin: Origin { node: known.node, incarnation: known.incarnation },
                contiguous: known.contiguous,
                highest: known.contiguous,
                count: known.contiguous,
                hash: None,
                silent: false,
            })
            .collect();
        self.numbers += 1;
        let id = LinkId(self.numbers);
        if !sync.open_link(id, &known) {
            return Err(Failure::unavailable(
                "this node tells as many relays of its domain as it can: ask another one",
            ));
        }
        let (words, told) = mpsc::channel(WORDS_MAX);
        self.tellings.insert(id, words);
        Ok(told)
    }

    /// Lets each relay be told what it has room for.
    pub(super) fn tell(&mut self, now: BootInstant, sync: &mut Sync) {
        self.room_at = None;
        let ended: Vec<LinkId> =
            self.tellings.iter().filter(|(_, words)| words.is_closed()).map(|(id, _)| *id).collect();
        for id in ended {
            self.tellings.remove(&id);
            sync.close_link(id);
        }
        for (id, words) in &self.tellings {
            while sync.has_for(*id) {
                let Ok(room) = words.try_reserve() else {
                    self.room_at = Some(now + ROOM_PAUSE);
                    break;
                };
                let Some(message) = sync.next_for(now, *id) else { break };
                room.send(message);
            }
        }
    }

    /// For whoever asks: the relays, and whom this node hears.
    pub(super) fn view(&self, now: BootInstant) -> (&[Uid], Vec<DomainLink>) {
        let view = |(domain, link): (&Arc<str>, &Link)| DomainLink {
            domain: domain.to_string(),
            node: link.teller.clone(),
            for_ms: u64::try_from(now.since(link.since).as_millis()).unwrap_or(u64::MAX),
        };
        (&self.relays, self.links.iter().map(view).collect())
    }
}

/// The relays of this domain: of those that the ring or, in another ring, their own words show alive. Who is suspected does not
/// count: a node that has lost all others takes long to believe that it is they who are dead, and one relay too many costs little.
fn relays(now: BootInstant, node: Uid, roster: &Roster, ring: &Ring, sync: &Sync) -> Vec<Uid> {
    let heard: BTreeMap<Uid, bool> = sync
        .origins(now)
        .map(|state| (state.origin.node, state.silence.is_some_and(|silence| silence <= SILENT_AFTER)))
        .collect();
    let is_alive = |other: &Uid| match ring.state(*other) {
        _ if *other == node => true,
        Some(State::Alive) => true,
        Some(State::Suspect | State::Down) => false,
        None => heard.get(other).copied().unwrap_or(false),
    };
    let mut relays = ranked(&roster.domain, roster.awake.iter().copied().filter(is_alive));
    relays.truncate(RELAYS);
    relays
}

/// A question that waits for its answer, or for messages to come.
#[derive(Debug)]
pub(super) enum Asked {
    Open(RelayRequest, oneshot::Sender<Result<Words, Failure>>),
    Question(Vec<u8>, oneshot::Sender<Result<Vec<Arc<[u8]>>, Failure>>),
}
