//! This node among the others: what its reporters say goes to them and theirs comes here, who answers is watched, and which
//! members multicast reaches is found out. One task drives `core/sync`, `core/swim` and `io/datagram`'s self-test over one pair
//! of sockets.
//!
//! Deliberately not here: what a silence means, which is the hub's matter; declared objects, which come by the log.
//!
//! **Invariants**: nothing leaves unsealed; what is heard is from members alone; the database waits for nothing here, since it
//! says only that there is something to take.

mod abroad;
mod evidence;
mod hearing;
mod keys;
mod links;
mod question;
mod roster;
mod sockets;
mod value;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

use acp_base::{BootInstant, EpochId, Uid};
use acp_core_cdb::Said;
use acp_core_swim::{Output as RingOutput, Ring, State};
use acp_core_sync::{Config, Effect, Mode, Origin, Sync, To};
use acp_io_client::Client;
use acp_io_daemon::{Tasks, boot_now, wall_now};
use acp_io_datagram::{
    Batch, Channel, Path, Refusal,
    selftest::{self, Input, Now, SelfTest},
};
use acp_wire_api::hub::{ReportRingRequest, RingState, RingStateKind};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::question::Questions;
use self::{
    abroad::Abroad,
    hearing::Hearing,
    keys::{Keeper, KeySet},
    question::Question,
    roster::Roster,
    sockets::Sockets,
};
use crate::{metrics, peers::Peers, proposer::Hubs, service::Handle};

/// Questions that wait: they are answered at once.
const QUESTIONS_MAX: usize = 64;

/// How long this task sleeps at most: its parts have their own times.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What the driver needs of the daemon.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// This node.
    pub(crate) node: Uid,
    /// Above that of every earlier life of this service on this node.
    pub(crate) incarnation: u64,
    pub(crate) client: Client,
    pub(crate) database: Handle,
    pub(crate) hubs: Hubs,
    pub(crate) peers: watch::Receiver<Arc<Peers>>,
}

/// Drives them.
#[derive(Debug)]
pub(crate) struct Domain {
    node: Uid,
    database: Handle,
    peers: watch::Receiver<Arc<Peers>>,
    keys: watch::Receiver<Option<KeySet>>,
    hurry: Arc<Notify>,
    questions: mpsc::Receiver<Question>,
    held: watch::Sender<Option<Arc<ReportRingRequest>>>,
    incarnation: u64,
    cluster: Option<Uid>,
    epoch: Option<EpochId>,
    replaced: u64,
    roster: Roster,
    sockets: Sockets,
    sync: Sync,
    ring: Ring,
    test: SelfTest,
    hearing: Hearing,
    abroad: Abroad,
    outputs: Vec<RingOutput>,
    tests: Vec<selftest::Output>,
}

impl Domain {
    /// Starts it with the tasks that fetch keys and tell the hub what the ring says; they run until the drain.
    pub(crate) fn start(around: Surroundings, tasks: &Tasks, drain: &CancellationToken) -> Questions {
        let Surroundings { node, incarnation, client, database, hubs, peers } = around;
        let hurry = Arc::new(Notify::new());
        let (told, keys) = watch::channel(None);
        let (held, reports) = watch::channel(None);
        let (asked, questions) = mpsc::channel(QUESTIONS_MAX);
        let now = boot_now();
        let seed = seed(node, incarnation);
        let (cluster, replaced, roster) = {
            let peers = peers.borrow();
            (peers.cluster, peers.replaced, Roster { peers: BTreeMap::new(), ..Roster::of(&peers) })
        };
        let epoch = cluster.map_or(NOBODY, |(_, epoch)| epoch);
        let keeper = Keeper { hubs: hubs.clone(), peers: peers.clone(), hurry: Arc::clone(&hurry), told };
        let mut domain = Self {
            node,
            database,
            keys,
            hurry,
            questions,
            held,
            incarnation,
            cluster: cluster.map(|(cluster, _)| cluster),
            epoch: None,
            replaced,
            peers,
            sockets: Sockets::new(node, incarnation),
            sync: Sync::new(now, Origin { node, incarnation }, epoch, seed, Config::default()),
            ring: Ring::new(now, node, incarnation, seed),
            test: SelfTest::new(node, now, selftest::limits::TICK),
            hearing: Hearing::new(),
            abroad: Abroad::new(node, client, tasks, drain),
            outputs: Vec::new(),
            tests: Vec::new(),
            roster,
        };
        domain.look(now);
        tasks.spawn("keys for datagrams", keeper.run(drain.clone()));
        tasks.spawn("evidence", evidence::run(hubs, reports, drain.clone()));
        tasks.spawn("domain", domain.run(drain.clone()));
        Questions::new(asked)
    }

    async fn run(mut self, drain: CancellationToken) {
        let mut batch = Batch::new();
        loop {
            let pause = self.next_deadline().since(boot_now());
            tokio::select! {
                () = drain.cancelled() => return,
                changed = self.peers.changed() => match changed {
                    Ok(()) => self.look(boot_now()),
                    Err(_gone) => return,
                },
                changed = self.keys.changed() => match changed {
                    Ok(()) => self.rekey(),
                    Err(_gone) => return,
                },
                Some(question) = self.questions.recv() => self.answer(question),
                () = self.database.has_said() => self.take_said().await,
                Some(news) = self.abroad.next() => self.abroad.take(boot_now(), &mut self.sync, news),
                received = self.sockets.receive(&mut batch) => self.receive(received, &mut batch),
                () = sleep(pause) => {}
            }
            self.wake(boot_now());
            self.perform(boot_now()).await;
        }
    }

    fn next_deadline(&self) -> BootInstant {
        let others = [self.ring.next_deadline(), self.sockets.next_deadline(), self.hearing.next_deadline()];
        let parts = [self.sync.next_deadline(), self.test.next_deadline(), self.abroad.next_deadline()];
        others.into_iter().flatten().chain(parts).fold(boot_now() + SLEEP_MAX, BootInstant::min)
    }

    /// Goes by who is who now.
    fn look(&mut self, now: BootInstant) {
        let peers = Arc::clone(&self.peers.borrow_and_update());
        let cluster = peers.cluster.map(|(cluster, _)| cluster);
        let roster = Roster::of(&peers);
        if std::mem::replace(&mut self.cluster, cluster) != cluster {
            self.move_to_another_cluster(now);
        }
        let difference = roster.since(&self.roster);
        for peer in difference.gone.iter().chain(&difference.renamed) {
            self.hearing.left(now, &self.sync, peer);
        }
        for peer in &difference.gone {
            self.sync.forget(peer.uid);
            if let Some(opener) = self.sockets.opener() {
                opener.forget(peer.uid);
            }
        }
        for node in &difference.new {
            self.sync.admit(*node);
        }
        for peer in roster.peers.values() {
            self.sync.set_domain(now, peer.uid, roster.abroad(peer));
        }
        for node in &difference.near {
            self.sync.set_mode(*node, Mode::Unicast);
        }
        if self.roster.domain != roster.domain {
            // Whoever was told of the other domain asks anew, and so does this node.
            self.abroad.begin_again(now);
        }
        self.abroad.look_soon(now);
        self.sockets.place(now, cluster, roster.address);
        self.roster = roster;
        for peer in &difference.renamed {
            self.hearing.offer(now, &self.sync, &self.roster, Some(peer.uid));
        }
        if let Some((_, epoch)) = peers.cluster {
            self.sync.set_epoch(epoch);
        }
        let epoch = peers.cluster.map(|(_, epoch)| epoch);
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.rekey();
        }
        if std::mem::replace(&mut self.replaced, peers.replaced) != peers.replaced {
            self.hearing.offer(now, &self.sync, &self.roster, None);
        }
        let members: Vec<Uid> = self.roster.near().map(|peer| peer.uid).chain([self.node]).collect();
        self.test.step(clocks(now), Input::Members(&members), &mut self.tests);
        if let Err(error) = self.ring.set_members(now, &self.roster.ring_members, &mut self.outputs) {
            tracing::error!(%error, "the ring keeps the members that it had");
        }
    }

    /// What was heard is of others, and what is said here is said anew.
    fn move_to_another_cluster(&mut self, now: BootInstant) {
        for peer in self.roster.peers.values() {
            self.hearing.left(now, &self.sync, peer);
        }
        self.roster.peers.clear();
        self.abroad.begin_again(now);
        self.incarnation += 1;
        let (origin, seed) =
            (Origin { node: self.node, incarnation: self.incarnation }, seed(self.node, self.incarnation));
        let mut sync = Sync::new(now, origin, NOBODY, seed, Config::default());
        for (key, value) in self.sync.own_slots() {
            count(sync.publish(now, key, Arc::clone(value)).err());
        }
        self.sync = sync;
    }

    /// Goes by the newest keys, if they are of the epoch that this node is in: those of another one may come first, or stay longer.
    fn rekey(&mut self) {
        let keys = self.keys.borrow_and_update().clone();
        self.sockets.rekey(keys.filter(|keys| self.epoch.is_some_and(|epoch| keys.is_of(epoch))));
    }

    /// What this node's reporters have said goes to the others.
    async fn take_said(&mut self) {
        loop {
            // A database that has ended ends this task soon, too.
            let Ok(said) = self.database.take_said().await else { return };
            let is_more = said.is_more;
            self.publish(boot_now(), said);
            if !is_more {
                return;
            }
        }
    }

    fn publish(&mut self, now: BootInstant, said: Said) {
        let mut kept = BTreeSet::new();
        for (id, says) in said.slots {
            let key = value::key(&id);
            match says {
                Some((name, slot)) => {
                    let value = value::encode(name.as_deref(), &slot);
                    count(self.sync.publish(now, &key, value).err());
                    if said.is_whole {
                        kept.insert(key);
                    }
                }
                None => drop(self.sync.withdraw(now, &key)),
            }
        }
        if said.is_whole {
            let gone: Vec<_> =
                self.sync.own_slots().map(|(key, _)| key.clone()).filter(|key| !kept.contains(key)).collect();
            for key in gone {
                self.sync.withdraw(now, &key);
            }
        }
        for reporter in said.confirmed {
            let noun = reporter.rsplit_once('@').map_or(&*reporter, |(noun, _node)| noun);
            self.sync.confirm(now, noun);
        }
    }

    /// Takes what has arrived.
    fn receive(&mut self, received: io::Result<()>, batch: &mut Batch) {
        if let Err(error) = received {
            return self.sockets.broke(&error);
        }
        let now = boot_now();
        let Some(opener) = self.sockets.opener() else { return };
        for arrival in batch.arrivals() {
            let opened = match opener.open(now, arrival) {
                Ok(opened) => opened,
                Err(Refusal::NewerKey) => {
                    self.hurry.notify_one();
                    continue;
                }
                Err(_counted) => continue,
            };
            let from = opened.sender;
            if opened.path == Path::Multicast && opened.channel != Channel::SelfTest {
                self.test.step(clocks(now), Input::Heard(from), &mut self.tests);
            }
            match opened.channel {
                Channel::Sync => {
                    if let Err(refused) = self.sync.receive(now, from, opened.payload) {
                        tracing::trace!(%from, reason = %refused, "a message of the replication is refused");
                    }
                }
                Channel::Swim => {
                    if let Err(refused) = self.ring.receive(now, from, opened.payload, &mut self.outputs) {
                        metrics::ring_refused(&refused);
                    }
                }
                Channel::SelfTest => {
                    let input = Input::Message { from, path: opened.path, payload: opened.payload };
                    self.test.step(clocks(now), input, &mut self.tests);
                }
            }
        }
    }

    /// Does what is due.
    fn wake(&mut self, now: BootInstant) {
        self.sockets.bind(now);
        if self.sync.next_deadline() <= now {
            self.sync.wake(now);
        }
        if self.ring.next_deadline().is_some_and(|at| at <= now) {
            self.ring.wake(now, &mut self.outputs);
        }
        if self.test.next_deadline() <= now {
            self.test.step(clocks(now), Input::Tick, &mut self.tests);
        }
        self.hearing.again(now, &self.sync, &self.roster);
        self.abroad.look(now, &self.roster, &self.ring, &mut self.sync);
    }

    /// Does what the parts ask for.
    async fn perform(&mut self, now: BootInstant) {
        for output in std::mem::take(&mut self.tests) {
            self.perform_test(output);
        }
        for effect in self.sync.effects().collect::<Vec<_>>() {
            self.perform_sync(now, effect);
        }
        let mut is_news = false;
        for output in std::mem::take(&mut self.outputs) {
            is_news |= self.perform_ring(output);
        }
        if is_news {
            self.tell_ring();
            self.abroad.look_soon(now);
        }
        self.abroad.tell(now, &mut self.sync);
        self.hearing.tell(now, &self.database).await;
    }

    fn perform_test(&mut self, output: selftest::Output) {
        match output {
            selftest::Output::Multicast(bytes) => self.sockets.multicast(Channel::SelfTest, &bytes),
            selftest::Output::Unicast(to, bytes) => self.send(Channel::SelfTest, to, &bytes),
            selftest::Output::Whole(to, bytes) => {
                if let Some(peer) = self.roster.peers.get(&to) {
                    self.sockets.whole(Channel::SelfTest, &bytes, peer.address);
                }
            }
            selftest::Output::Changed { peer, mode, why } => {
                let mode = match mode {
                    selftest::Mode::Multicast => Mode::Multicast,
                    selftest::Mode::Unicast => Mode::Unicast,
                };
                self.sync.set_mode(peer, mode);
                let node = self.roster.name(peer).map(ToString::to_string);
                tracing::info!(node, ?mode, ?why, "a node is sent to in another way");
            }
        }
    }

    fn perform_sync(&mut self, now: BootInstant, effect: Effect) {
        match effect {
            Effect::Send { to: To::Group, bytes } => self.sockets.multicast(Channel::Sync, &bytes),
            Effect::Send { to: To::Node(to), bytes } => self.send(Channel::Sync, to, &bytes),
            Effect::Ask { domain, bytes } => self.abroad.ask(&domain, bytes),
            Effect::Changed { origin, key, slot } => {
                self.hearing.changed(now, &self.roster, (origin.node, key), slot.as_ref());
            }
            Effect::Stood { origin, reporter, age } => {
                self.hearing.stood(&self.roster, origin.node, &reporter, value::before(now, age));
            }
            Effect::BegunAgain { incarnation } => {
                self.incarnation = self.incarnation.max(incarnation);
                tracing::warn!(incarnation, "others know a later life of this node: it goes on above that");
            }
        }
    }

    /// Answers whether what is held of somebody has changed.
    fn perform_ring(&mut self, output: RingOutput) -> bool {
        let (node, evidence, held) = match output {
            RingOutput::Send { to, bytes, copies } => {
                for _copy in 0..copies {
                    self.send(Channel::Swim, to, &bytes);
                }
                return false;
            }
            RingOutput::Up { node, evidence } => (node, evidence, "alive"),
            RingOutput::Suspected { node, evidence } => (node, evidence, "suspect"),
            RingOutput::Down { node, evidence } => (node, evidence, "down"),
        };
        metrics::ring(held);
        tracing::info!(node = self.roster.name(node).map(ToString::to_string), held, why = %evidence, "the ring says");
        true
    }

    fn tell_ring(&self) {
        let state = |node: &Uid| {
            let state = match self.ring.state(*node)? {
                State::Alive => RingStateKind::Alive,
                State::Suspect => RingStateKind::Suspect,
                State::Down => RingStateKind::Down,
            };
            Some(RingState { node: *node, state })
        };
        let states = self.roster.ring_members.iter().filter_map(state).collect();
        let report = ReportRingRequest { ring: self.roster.ring.0, incarnation: self.incarnation, states };
        self.held.send_replace(Some(Arc::new(report)));
    }

    fn send(&mut self, channel: Channel, to: Uid, bytes: &[u8]) {
        if let Some(peer) = self.roster.peers.get(&to).filter(|peer| *peer.domain == *self.roster.domain) {
            self.sockets.unicast(channel, bytes, peer.address);
        }
    }
}

/// The epoch of those who know none yet: nobody else is in it.
const NOBODY: EpochId = EpochId { number: 0, id: Uid::from_u128(0) };

fn clocks(now: BootInstant) -> Now {
    Now { boot: now, wall: wall_now() }
}

/// For jitter alone.
fn seed(node: Uid, incarnation: u64) -> u64 {
    let bytes = node.as_u128().to_be_bytes();
    bytes
        .iter()
        .fold(incarnation, |seed, byte| seed.rotate_left(7) ^ u64::from(*byte).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn count(error: Option<acp_core_sync::PublishError>) {
    if let Some(error) = error {
        metrics::unpublished();
        tracing::debug!(%error, "a slot is not told to other nodes");
    }
}
