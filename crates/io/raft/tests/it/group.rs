//! A group of nodes in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::Uid;
use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::Tasks;
use acp_io_raft::{Former, Machine, Options, ProposeError, Raft, Status, Transport, Unreachable};
use tempfile::TempDir;

use crate::{disk::Dice, vfs::Vfs};

/// How long anything may take that is certain to come.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Times of these groups: shorter than the defaults, in the same proportion, and long enough for a busy machine.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);
pub(crate) const LEASE: Duration = Duration::from_millis(400);

/// The commands applied to a machine, in their order.
pub(crate) type Applied = Arc<Mutex<Vec<Vec<u8>>>>;

/// A machine that remembers every command.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Applied);

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Machine for Recorder {
    type Answer = usize;

    fn apply(&mut self, command: &[u8]) -> usize {
        let mut applied = lock(&self.0);
        applied.push(command.to_vec());
        applied.len()
    }

    fn image(&self) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let applied = lock(&self.0).clone();
        Box::new(move || {
            let lengths = |command: &Vec<u8>| [&(command.len() as u64).to_le_bytes()[..], command].concat();
            applied.iter().flat_map(lengths).collect()
        })
    }

    fn restore(&mut self, mut image: &[u8]) -> Result<(), String> {
        let mut applied = Vec::new();
        while let Some((length, rest)) = image.split_first_chunk::<8>() {
            let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|error| error.to_string())?;
            let (command, rest) = rest.split_at_checked(length).ok_or("a command is cut off")?;
            applied.push(command.to_vec());
            image = rest;
        }
        *lock(&self.0) = applied;
        Ok(())
    }
}

/// What the network does.
pub(crate) struct Weather {
    dice: Dice,
    /// Directions in which nothing passes.
    cuts: BTreeSet<(u64, u64)>,
    /// Frames lost, in a hundred, each way.
    pub(crate) loss: u64,
    /// The longest delay of a frame, in milliseconds, each way; frames overtake each other.
    pub(crate) delay_ms: u64,
}

/// A frame as it went out.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) frame: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct Net {
    weather: Arc<Mutex<Weather>>,
    nodes: Arc<Mutex<BTreeMap<u64, Raft<Recorder>>>>,
    /// What was sent, as long as somebody listens.
    tap: Arc<Mutex<Option<Vec<Sent>>>>,
    tasks: Tasks,
}

impl Net {
    /// Whether a frame passes, and when.
    fn toss(&self, from: u64, to: u64) -> Option<Duration> {
        let mut weather = lock(&self.weather);
        let (loss, delay_ms) = (weather.loss, weather.delay_ms);
        let is_lost = weather.cuts.contains(&(from, to)) || weather.dice.roll(100) < loss;
        let delay = Duration::from_millis(weather.dice.roll(delay_ms + 1));
        (!is_lost).then_some(delay)
    }
}

/// Time passes on the way: the delay is what the tests are about, nobody waits for a condition here.
async fn lag(delay: Duration) {
    tokio::time::sleep_until(tokio::time::Instant::now() + delay).await;
}

struct Door {
    me: u64,
    net: Net,
}

impl Transport for Door {
    async fn call(&self, to: Uid, frame: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Unreachable> {
        let (net, me, to) = (self.net.clone(), self.me, number(to));
        if let Some(heard) = &mut *lock(&net.tap) {
            heard.push(Sent { from: me, to, frame: frame.clone() });
        }
        let (done, answer) = tokio::sync::oneshot::channel();
        // In a task of its own: a frame arrives although its sender has stopped waiting.
        self.net.tasks.spawn("frame", async move {
            let Some(delay) = net.toss(me, to) else { return };
            lag(delay).await;
            let Some(node) = lock(&net.nodes).get(&to).cloned() else { return };
            let answer = node.serve(uid(me), frame).await;
            let Some(delay) = net.toss(to, me) else { return };
            lag(delay).await;
            drop(done.send(answer));
        });
        let lost = || Unreachable("no answer".into());
        // A lost frame says nothing: whoever sent it waits as long as it may.
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_lost)) => {
                lag(limit).await;
                Err(lost())
            }
            Err(_elapsed) => Err(lost()),
        }
    }
}

pub(crate) fn uid(number: u64) -> Uid {
    // Spread over all bits, as real ids are.
    Uid::from_u128(u128::from(number).wrapping_mul(0x0123_4567_89ab_cdef_0123_4567_89ab_cdf1))
}

fn number(of: Uid) -> u64 {
    (0..64).find(|number| uid(*number) == of).expect("a node of the test")
}

/// See the module.
pub(crate) struct Group {
    pub(crate) seed: u64,
    pub(crate) directory: TempDir,
    pub(crate) net: Net,
    pub(crate) applied: BTreeMap<u64, Applied>,
    pub(crate) acknowledged: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(crate) options: fn(Options) -> Options,
    /// The nodes whose disks are not the system's own.
    pub(crate) disks: BTreeMap<u64, &'static Vfs>,
}

impl Group {
    /// Nodes that are voters of one group; the first has founded it.
    pub(crate) async fn of(seed: u64, nodes: u64, options: fn(Options) -> Options) -> Self {
        Self::on(BTreeMap::new(), seed, nodes, options).await
    }

    /// The same, some of them on these disks.
    pub(crate) async fn on(
        disks: BTreeMap<u64, &'static Vfs>,
        seed: u64,
        nodes: u64,
        options: fn(Options) -> Options,
    ) -> Self {
        eprintln!("seed {seed}");
        let weather = Weather { dice: Dice(seed), cuts: BTreeSet::new(), loss: 0, delay_ms: 0 };
        let weather = Arc::new(Mutex::new(weather));
        let net = Net { weather, nodes: Arc::default(), tap: Arc::default(), tasks: Tasks::default() };
        let directory = tempfile::tempdir().expect("a directory");
        let (applied, acknowledged) = (BTreeMap::new(), Arc::default());
        let mut group = Self { seed, directory, net, applied, acknowledged, options, disks };
        for node in 1..=nodes {
            group.start(node).await;
        }
        group.node(1).found(None).await.expect("founded");
        group.leader(&[1]).await;
        for node in 2..=nodes {
            group.node(1).add_learner(uid(node)).await.expect("a learner");
        }
        group.node(1).set_voters((1..=nodes).map(uid).collect(), Former::Gone).await.expect("voters");
        group
    }

    pub(crate) fn place(&self, node: u64) -> PathBuf {
        self.directory.path().join(node.to_string())
    }

    pub(crate) fn options(&self, node: u64) -> Options {
        let mut options = Options::new(self.place(node), uid(node));
        (options.heartbeat, options.lease) = (HEARTBEAT, LEASE);
        options.propose_limit = Duration::from_secs(3);
        (self.options)(options)
    }

    pub(crate) fn door(&self, node: u64) -> impl Transport + use<> {
        Door { me: node, net: self.net.clone() }
    }

    /// Starts a node, with an empty machine, on what is on its disk.
    pub(crate) async fn start(&mut self, node: u64) {
        let machine = Recorder::default();
        self.applied.insert(node, Arc::clone(&machine.0));
        let vfs = self.disks.get(&node).map_or(c"unix", |vfs| vfs.name());
        let raft = Raft::open_through(vfs, self.options(node), machine, self.door(node), &self.net.tasks).await;
        lock(&self.net.nodes).insert(node, raft.expect("opened"));
    }

    pub(crate) async fn stop(&self, node: u64) {
        let stopped = lock(&self.net.nodes).remove(&node);
        stopped.expect("it runs").shutdown().await;
    }

    pub(crate) fn put(&self, node: u64, raft: Raft<Recorder>) {
        lock(&self.net.nodes).insert(node, raft);
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.net.tasks
    }

    pub(crate) fn node(&self, node: u64) -> Raft<Recorder> {
        lock(&self.net.nodes).get(&node).expect("it runs").clone()
    }

    pub(crate) fn status(&self, node: u64) -> Status {
        self.node(node).status().borrow().clone()
    }

    pub(crate) fn weather(&self) -> MutexGuard<'_, Weather> {
        lock(&self.net.weather)
    }

    /// Listens from now on, to everything that is sent.
    pub(crate) fn tap(&self) {
        *lock(&self.net.tap) = Some(Vec::new());
    }

    /// What was heard since; listens no more.
    pub(crate) fn tapped(&self) -> Vec<Sent> {
        lock(&self.net.tap).take().expect("somebody listened")
    }

    /// Cuts, or mends, what goes from one to another.
    pub(crate) fn cut(&self, from: u64, to: u64, is_cut: bool) {
        let mut weather = self.weather();
        if is_cut {
            weather.cuts.insert((from, to))
        } else {
            weather.cuts.remove(&(from, to))
        };
    }

    /// Cuts, or mends, both ways between a node and others.
    pub(crate) fn isolate(&self, node: u64, others: &[u64], is_cut: bool) {
        for other in others {
            self.cut(node, *other, is_cut);
            self.cut(*other, node, is_cut);
        }
    }

    pub(crate) fn calm(&self) {
        let mut weather = self.weather();
        weather.cuts.clear();
        (weather.loss, weather.delay_ms) = (0, 0);
    }

    /// Waits until these nodes agree that one of them leads, which has heard a majority just now.
    pub(crate) async fn leader(&self, nodes: &[u64]) -> u64 {
        let look = async || {
            let statuses: Vec<Status> = nodes.iter().map(|node| self.status(*node)).collect();
            let leads = nodes.iter().zip(&statuses).find(|(_, status)| {
                status.is_leader() && status.quorum_heard.is_some_and(|heard| heard.elapsed() < LEASE)
            });
            let leader = leads.map(|(node, _)| *node);
            let agree = leader.is_some_and(|leader| statuses.iter().all(|status| status.leader == Some(uid(leader))));
            seen(leader.filter(|_| agree), Option::is_some).map_err(|_seen| format!("{statuses:#?}"))
        };
        wait_for_async("a leader", LIMIT, look).await.expect("elected").expect("some")
    }

    /// Has a command ordered, whoever leads.
    pub(crate) async fn write(&self, command: &str) {
        let look = async || {
            let nodes: Vec<Raft<Recorder>> = lock(&self.net.nodes).values().cloned().collect();
            let leader = nodes.into_iter().find(|node| node.status().borrow().is_leader());
            let Some(leader) = leader else { return Err("nobody leads".to_owned()) };
            match leader.propose(command.as_bytes().to_vec()).await {
                Ok(_count) => Ok(()),
                Err(error @ ProposeError::Unknown(_)) => panic!("seed {}: {command}: {error}", self.seed),
                Err(error) => Err(error.to_string()),
            }
        };
        wait_for_async("a write", LIMIT, look).await.expect("written");
        lock(&self.acknowledged).push(command.as_bytes().to_vec());
    }

    /// Proposes at whoever says it leads, for as long as the group lives; what is acknowledged is noted.
    pub(crate) fn writer(&self, name: u64) -> tokio::task::AbortHandle {
        let (nodes, acknowledged) = (Arc::clone(&self.net.nodes), Arc::clone(&self.acknowledged));
        self.net.tasks.spawn("writer", async move {
            for number in 0.. {
                let all: Vec<Raft<Recorder>> = lock(&nodes).values().cloned().collect();
                let command = format!("{name}-{number}").into_bytes();
                for leader in all.into_iter().filter(|node| node.status().borrow().is_leader()) {
                    if leader.propose(command.clone()).await.is_ok() {
                        lock(&acknowledged).push(command);
                        break;
                    }
                }
                lag(Duration::from_millis(2)).await;
            }
        })
    }

    /// Waits until every node has applied everything, and compares: the same sequence at each, every acknowledged command in
    /// it, and the order of each writer kept.
    pub(crate) async fn check(&self, nodes: &[u64]) {
        self.calm();
        let leader = self.leader(nodes).await;
        self.write("the last one").await;
        let acknowledged = lock(&self.acknowledged).clone();
        let count = lock(&self.applied[&leader]).len();
        for node in nodes {
            let applied = &self.applied[node];
            let look = async || seen(lock(applied).len(), |length| *length >= count);
            let error = wait_for_async(&format!("node {node} to catch up to {count}"), LIMIT, look).await.err();
            assert!(error.is_none(), "seed {}: {error:?}: {:#?}", self.seed, self.status(*node));
        }
        let reference = lock(&self.applied[&leader]).clone();
        for node in nodes {
            assert!(*lock(&self.applied[node]) == reference, "seed {}: node {node} differs", self.seed);
        }
        let all: BTreeMap<&Vec<u8>, usize> = reference.iter().zip(0..).collect();
        let lost: Vec<_> = acknowledged.iter().filter(|command| !all.contains_key(command)).collect();
        assert!(lost.is_empty(), "seed {}: acknowledged and lost: {lost:?}", self.seed);
        eprintln!("seed {}: {} commands, {} acknowledged", self.seed, reference.len(), acknowledged.len());
    }

    pub(crate) async fn end(self) {
        let nodes: Vec<u64> = lock(&self.net.nodes).keys().copied().collect();
        for node in nodes {
            self.stop(node).await;
        }
    }
}
