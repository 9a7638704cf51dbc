//! Three nodes, each with a hub in a process of its own and a stand-in for its agent, which carries conversations to the
//! other hubs, names the node that speaks, and keeps the node's watch on the directory. Links can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Failure, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::{Client, ServiceClient};
use acp_io_daemon::{Context, Router};
use acp_io_varlink::Upgraded;
use acp_wire_api::{
    Empty, Interface, Method,
    agent::{self, AgentStatus, GetStatus, ListMembers, ListMembersReply, Open, OpenReply, OpenRequest},
    hub::{self as api, Directory, QuorumStatus, WatchDirectory, WatchDirectoryRequest},
    principal::PrincipalKind,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio_util::sync::CancellationToken;

use crate::{
    node::{Acting, LIMIT, secret, valid},
    peer::{Peer, newcomer},
};

pub(crate) const NODES: usize = 3;

/// How often another hub is tried that may tell the directory.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

type Carried = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the stand-ins share.
#[derive(Debug, Default)]
struct Ways {
    /// Ends what is carried now.
    cut: CancellationToken,
    /// Nodes, by number from 0, that nobody reaches and that reach nobody.
    apart: BTreeSet<usize>,
    /// What was said from one to another in conversations that began since somebody listens.
    tap: Option<BTreeMap<(usize, usize), Vec<u8>>>,
}

/// As many bytes of each direction are kept.
const TAP_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Member {
    peer: Peer,
    hub: Option<Child>,
}

#[derive(Debug)]
pub(crate) struct World {
    folder: tempfile::TempDir,
    members: Vec<Member>,
    agents: Vec<Context>,
    ways: Arc<Mutex<Ways>>,
}

impl World {
    /// Three hubs, each with a log of its own node.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ways = Arc::default();
        let mut world = Self { folder, members: Vec::new(), agents: Vec::new(), ways };
        for number in 0..NODES {
            std::fs::create_dir(world.run(number)).expect("made");
            let peer = Peer::new(&format!("n{}", number + 1), u8::try_from(number + 1).expect("few"));
            world.members.push(Member { peer, hub: None });
            world.start_hub(number);
            world.start_agent(number);
            world.found(number).await;
        }
        world
    }

    /// One cluster, and all three vote.
    pub(crate) async fn of_three_voters() -> Self {
        let world = Self::start().await;
        let node = world.peer(0).presents();
        let init = api::InitClusterRequest { cluster: valid("prod"), node };
        world.hub(0).call::<api::InitCluster>(init).await.expect("a cluster");
        for number in 1..NODES {
            world.join(number).await;
        }
        world.voters(NODES).await;
        world
    }

    /// A node's hub gives up its own log and joins, as its cluster service and its agent have it do.
    async fn join(&self, number: usize) {
        let token = self.token(0).await;
        let request = api::JoinRequest { token: secret(&token), node: self.peer(number).presents() };
        let mut acting = Acting::at(&self.socket(0), newcomer()).await.expect("it listens");
        acting.call::<api::Join>(request).await.expect("it joins");
        self.hub(number).call::<api::Retire>(Empty {}).await.expect("it gives up its own");
    }

    /// Waits until so many vote, with every live hub of the same mind.
    pub(crate) async fn voters(&self, count: usize) {
        let is_voter = |status: &QuorumStatus| status.voters.iter().filter(|voter| voter.role != "learner").count();
        let all = wait_for_async("the voters", LIMIT * 2, async || {
            let mut counts = Vec::new();
            for number in self.live() {
                counts.push(self.quorum(number).await.as_ref().map_or(0, is_voter));
            }
            seen(counts, |counts| counts.iter().all(|found| *found == count))
        });
        all.await.expect("they vote");
        // While voters are exchanged the old ones have to agree, too: the change is over when what follows it is ordered.
        let leader = self.leader().await;
        for _entry in 0..3 {
            self.token(leader).await;
        }
    }

    async fn token(&self, at: usize) -> String {
        let token = api::CreateTokenRequest { lifetime_ms: None, uses: Some(1), no_root_key: false };
        self.hub(at).call::<api::CreateToken>(token).await.expect("a token").text
    }

    /// The number of the leader, once one of the hubs that are reached says that it leads.
    pub(crate) async fn leader(&self) -> usize {
        let leader = wait_for_async("a leader", LIMIT, async || {
            let mut leaders = Vec::new();
            for number in self.live() {
                let status = self.quorum(number).await;
                leaders.extend(status.filter(|status| status.leader.as_ref() == Some(&status.node)).map(|_| number));
            }
            seen(leaders, |leaders| leaders.len() == 1)
        });
        leader.await.expect("one leads")[0]
    }

    async fn quorum(&self, number: usize) -> Option<QuorumStatus> {
        self.hub(number).call::<api::GetQuorum>(Empty {}).await.ok()
    }

    fn live(&self) -> Vec<usize> {
        let apart = locked(&self.ways).apart.clone();
        (0..NODES).filter(|number| self.members[*number].hub.is_some() && !apart.contains(number)).collect()
    }

    pub(crate) fn peer(&self, number: usize) -> &Peer {
        &self.members[number].peer
    }

    /// As root of this node.
    pub(crate) fn hub(&self, number: usize) -> ServiceClient {
        Client::new(self.run(number)).own("hub").deadline(LIMIT)
    }

    pub(crate) fn socket(&self, number: usize) -> PathBuf {
        self.run(number).join("hub.sock")
    }

    /// Ends a hub as a loss of power does.
    pub(crate) fn kill(&mut self, number: usize) {
        let mut hub = self.members[number].hub.take().expect("it runs");
        hub.kill().and_then(|()| hub.wait()).expect("it can be killed");
    }

    /// Tells a hub to end, as its framework does.
    pub(crate) fn tell_to_end(&self, number: usize) {
        let hub = self.members[number].hub.as_ref().expect("it runs");
        let pid = rustix::process::Pid::from_child(hub);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    }

    /// Waits until a hub that was told to end has ended by itself.
    pub(crate) async fn ended(&mut self, number: usize) {
        let mut hub = self.members[number].hub.take().expect("it runs");
        let ended = wait_for_async("a hub to end", LIMIT, async || match hub.try_wait().expect("a child") {
            Some(status) if status.success() => Ok(()),
            other => Err(format!("{other:?}")),
        });
        let said = ended.await;
        if said.is_err() {
            hub.kill().and_then(|()| hub.wait()).expect("it can be killed");
        }
        said.expect("it ends by itself");
    }

    /// Nobody reaches this node, and it reaches nobody.
    pub(crate) fn part(&self, number: usize) {
        let mut ways = locked(&self.ways);
        ways.apart.insert(number);
        std::mem::take(&mut ways.cut).cancel();
    }

    /// Listens from now on; conversations begin anew.
    pub(crate) fn tap(&self) {
        let mut ways = locked(&self.ways);
        ways.tap = Some(BTreeMap::new());
        std::mem::take(&mut ways.cut).cancel();
    }

    /// What one has said to another since.
    pub(crate) fn tapped(&self, from: usize, to: usize) -> Vec<u8> {
        let ways = locked(&self.ways);
        ways.tap.as_ref().and_then(|tap| tap.get(&(from, to))).cloned().unwrap_or_default()
    }

    pub(crate) fn heal(&self) {
        locked(&self.ways).apart.clear();
    }

    pub(crate) fn start_hub(&mut self, number: usize) {
        let run = self.run(number);
        let mut command = Command::new(env!("CARGO_BIN_EXE_acp-hub"));
        for option in ["--run-dir", "--state-dir", "--log-dir", "--config-dir"] {
            command.arg(option).arg(&run);
        }
        command.arg("--node").arg(&self.members[number].peer.name);
        let hub = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        self.members[number].hub = Some(hub);
    }

    async fn found(&self, number: usize) {
        let peer = self.peer(number);
        let request = api::FoundRequest { node: peer.uid, name: valid(&peer.name), image: None };
        self.hub(number).call::<api::Found>(request).await.expect("a log");
    }

    /// Every file that the hubs have written, logs included.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("listed") {
                let entry = entry.expect("an entry");
                match entry.file_type().expect("of a kind") {
                    kind if kind.is_dir() => folders.push(entry.path()),
                    kind if kind.is_file() => files.push(entry.path()),
                    _socket => {}
                }
            }
        }
        files
    }

    fn run(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("n{}", number + 1))
    }

    fn start_agent(&mut self, number: usize) {
        let context = Context::for_test("agent", &self.run(number), interfaces());
        let known: Arc<Mutex<Option<Directory>>> = Arc::default();
        let agent = Agent {
            number,
            uid: self.peer(number).uid,
            folder: self.folder.path().to_owned(),
            ways: Arc::clone(&self.ways),
            known,
        };
        context.serve(agent.router()).expect("it serves");
        context.ready();
        let drain = context.drain.clone();
        context.tasks.spawn("watch", async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = agent.watch() => {}
            }
        });
        self.agents.push(context);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for agent in &self.agents {
            agent.drain.cancel();
        }
        for hub in self.members.iter_mut().filter_map(|member| member.hub.as_mut()) {
            hub.kill().and_then(|()| hub.wait()).expect("it can be killed");
        }
    }
}

/// The stand-in for a node's agent.
#[derive(Clone, Debug)]
struct Agent {
    number: usize,
    uid: Uid,
    folder: PathBuf,
    ways: Arc<Mutex<Ways>>,
    /// The newest directory that the node was told.
    known: Arc<Mutex<Option<Directory>>>,
}

fn interfaces() -> Vec<Interface> {
    let mut interface = agent::interface();
    interface.methods.retain(|method| [Open::NAME, GetStatus::NAME, ListMembers::NAME].contains(&method.name));
    vec![interface]
}

impl Agent {
    fn router(&self) -> Router {
        let mut router = Router::new();
        let agent = self.clone();
        router.upgrade::<Open, _, _, _, _>(move |call| agent.clone().open(call.request));
        let agent = self.clone();
        router.once::<GetStatus, _, _>(move |_call| std::future::ready(Ok(agent.status())));
        let agent = self.clone();
        router.once::<ListMembers, _, _>(move |_call| std::future::ready(Ok(agent.members())));
        router
    }

    fn status(&self) -> AgentStatus {
        let cluster = locked(&self.known).as_ref().map(|directory| directory.cluster.clone());
        agent_status(self.uid, &format!("n{}", self.number + 1), cluster)
    }

    fn members(&self) -> ListMembersReply {
        let known = locked(&self.known);
        let (nodes, epoch) =
            known.as_ref().map(|directory| (directory.nodes.clone(), directory.epoch.clone())).unwrap_or_default();
        ListMembersReply { nodes, revision: 0, epoch, age_ms: None }
    }

    async fn open(self, request: OpenRequest) -> Result<(OpenReply, impl FnOnce(Upgraded) -> Carried), Failure> {
        let node = request.node.map(|node| node.to_string()).unwrap_or_default();
        let to: usize = node.trim_start_matches('n').parse().map_err(|_no_node| Failure::invalid("no such node"))?;
        let cut = self.way(to - 1)?;
        let here = to - 1 == self.number;
        let far = if here { None } else { Some(self.dial(to - 1).await?) };
        let (ways, way) = (Arc::clone(&self.ways), (self.number, to - 1));
        let carry = move |near: Upgraded| -> Carried {
            Box::pin(async move {
                let Some(far) = far else { return };
                let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (split(near), split(far));
                let there = tapped_copy(&mut near_in, &mut far_out, |bytes| locked(&ways).hear(way, bytes));
                tokio::select! {
                    () = cut.cancelled() => {}
                    _ended = there => {}
                    _ended = tokio::io::copy(&mut far_in, &mut near_out) => {}
                }
            })
        };
        Ok((OpenReply { node, here, hops: Vec::new() }, carry))
    }

    fn way(&self, to: usize) -> Result<CancellationToken, Failure> {
        let ways = locked(&self.ways);
        if to != self.number && (ways.apart.contains(&to) || ways.apart.contains(&self.number)) {
            return Err(Failure::precondition("the way is cut"));
        }
        Ok(ways.cut.clone())
    }

    /// A connection to another hub that speaks for this node.
    async fn dial(&self, to: usize) -> Result<Upgraded, Failure> {
        let acting = self.acting(to).await?;
        Ok(acting.into_raw())
    }

    async fn acting(&self, to: usize) -> Result<Acting, Failure> {
        let name = format!("n{}", self.number + 1);
        let principal = Peer { uid: self.uid, ..Peer::new(&name, 1) }.principal(PrincipalKind::Node);
        Acting::at(&socket(&self.folder, to), principal).await
    }

    /// Watches the directory at whichever hub tells it.
    async fn watch(self) {
        let mut at = 0;
        let mut pause = tokio::time::interval(PAUSE);
        loop {
            pause.tick().await;
            if let Ok(cut) = self.way(at) {
                tokio::select! {
                    () = cut.cancelled() => {}
                    _ended = self.watch_at(at) => {}
                }
            }
            at = (at + 1) % NODES;
        }
    }

    async fn watch_at(&self, to: usize) -> Result<(), Failure> {
        let request = WatchDirectoryRequest { known: None, epoch: String::new() };
        let mut acting = self.acting(to).await?.stream::<WatchDirectory>(&request).await;
        loop {
            let (reply, continues) = acting.next::<WatchDirectory>().await?;
            if let Some(directory) = reply.directory {
                *locked(&self.known) = Some(directory);
            }
            if !continues || !reply.degraded.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Ways {
    fn hear(&mut self, way: (usize, usize), bytes: &[u8]) {
        let Some(heard) = self.tap.as_mut().map(|tap| tap.entry(way).or_default()) else { return };
        if heard.len() + bytes.len() <= TAP_BYTES_MAX {
            heard.extend_from_slice(bytes);
        }
    }
}

async fn tapped_copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    hear: impl Fn(&[u8]),
) -> std::io::Result<()> {
    let mut bytes = vec![0; 16 << 10];
    loop {
        match from.read(&mut bytes).await? {
            0 => return Ok(()),
            count => {
                hear(&bytes[..count]);
                to.write_all(&bytes[..count]).await?;
                to.flush().await?;
            }
        }
    }
}

fn socket(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("n{}", number + 1)).join("hub.sock")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an agent says that knows its node and its cluster, and has no links.
pub(crate) fn agent_status(node: Uid, name: &str, cluster: Option<api::Cluster>) -> AgentStatus {
    AgentStatus {
        node,
        name: valid(name),
        cluster,
        address: None,
        certificate_until_ms: None,
        revision: 0,
        hub_heard_ms: None,
        root_key_path: String::new(),
        links: Vec::new(),
    }
}
