//! Hosts for the tests: a directory, an address of the loopback, services that answer, and an agent.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use acp_agent::{Agent, Config};
use acp_base::{Failure, Name, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::{Client, ServiceClient, Upgraded};
use acp_io_daemon::{Context, Daemon, Identities, Router};
use acp_wire_api::{
    Empty,
    agent::{self as api, AgentStatus, InitClusterRequest, JoinClusterRequest, Joined, OpenReply, OpenRequest},
    network::{DeleteNetwork, NetworkRequest},
    vmm::{AttachConsole, AttachConsoleReply},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{database::Database, hub::Hub};

/// How long anything may take beside other builds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The user as which the tests run may do on every socket what root may.
pub(crate) fn identities() -> Identities {
    let uid = nix::unistd::geteuid();
    Identities::parse(&format!("agent={uid}")).expect("well-formed")
}

/// An address that no other test uses, in this process or beside it.
pub(crate) fn address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) =
        (u8::try_from(process >> 8 & 0x7f).expect("7 bits"), u8::try_from(process & 0xff).expect("8 bits"));
    [127, 64 + high % 128, low, NEXT.fetch_add(1, Ordering::Relaxed)].into()
}

/// A host. Its services run with the test, its agent on a runtime of its own.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: Name,
    pub(crate) ip: IpAddr,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) hub: Hub,
    pub(crate) database: Database,
    /// What `agent.toml` says of the address.
    pub(crate) address: Option<String>,
    pub(crate) service: Arc<Service>,
    pub(crate) client: Client,
    agent: Option<Running>,
}

#[derive(Debug)]
struct Running {
    context: Context,
    /// Ends its runtime, and everything that runs there, at once.
    killed: CancellationToken,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn end(self) {
        self.killed.cancel();
        self.thread.join().expect("the agent panicked, see above");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.killed.cancel();
        }
    }
}

/// What the services of a host do: `network` forgets networks, the one called `slow` once it may; `vmm@m1` has a console
/// that echoes.
#[derive(Debug)]
pub(crate) struct Service {
    /// Calls that were begun.
    pub(crate) begun: AtomicUsize,
    /// Calls that were answered.
    pub(crate) done: AtomicUsize,
    /// Lets slow calls go on.
    pub(crate) go: Semaphore,
}

impl Host {
    /// A host whose agent is not started yet.
    pub(crate) fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let hub = Hub::start(directory.path());
        let database = Database::start(directory.path());
        let service =
            Arc::new(Service { begun: AtomicUsize::new(0), done: AtomicUsize::new(0), go: Semaphore::new(0) });
        service.start(directory.path());
        let client = Client::new(directory.path());
        let (name, ip) = (name.parse().expect("a name"), address());
        Self { name, ip, directory, hub, database, address: None, service, client, agent: None }
    }

    /// A host on its own.
    pub(crate) async fn started(name: &str) -> Self {
        let mut host = Self::new(name);
        host.start().await;
        host
    }

    /// Starts the agent and waits until it answers.
    pub(crate) async fn start(&mut self) {
        acp_io_pki::install_provider();
        let mut context = Context::for_test("agent", self.directory.path(), (Agent::INTERFACES)());
        context.node = self.name.clone();
        context.identities = identities();
        let config = Config { listen: SocketAddr::new(self.ip, 9932), address: self.address.clone() };
        let killed = CancellationToken::new();
        let (running, until) = (context.clone(), killed.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let life = async {
                    Agent::run(config, running).await.expect("it runs");
                    // Its tasks go on while it drains.
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = until.cancelled() => {}
                    () = life => {}
                }
            });
        });
        self.agent = Some(Running { context, killed, thread });
        self.agent().call::<api::GetStatus>(Empty {}).await.expect("it answers");
    }

    /// Ends the agent at once, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.agent.take().expect("it runs").end();
    }

    /// Begins to drain the agent, as SIGTERM does.
    pub(crate) fn drain(&self) {
        self.agent.as_ref().expect("it runs").context.drain.cancel();
    }

    /// Waits for the end of the agent's tasks, then ends it.
    pub(crate) async fn drained(&mut self) {
        let agent = self.agent.take().expect("it runs");
        let tasks = agent.context.tasks.clone();
        assert!(tasks.join(LIMIT).await, "{} tasks are left", tasks.count());
        agent.end();
    }

    pub(crate) fn health(&self) -> String {
        self.agent.as_ref().expect("it runs").context.health.reason()
    }

    pub(crate) fn agent(&self) -> ServiceClient {
        self.client.own("agent").deadline(LIMIT)
    }

    pub(crate) async fn status(&self) -> AgentStatus {
        self.agent().call::<api::GetStatus>(Empty {}).await.expect("a status")
    }

    pub(crate) async fn uid(&self) -> Uid {
        self.status().await.node
    }

    pub(crate) async fn init(&self) -> Result<Joined, Failure> {
        let name = "c1".parse().expect("a name");
        let request = InitClusterRequest { name, address: None, root_key_hash: None };
        self.agent().call::<api::InitCluster>(request).await
    }

    pub(crate) fn joining(&self, through: &Self, token: &str) -> JoinClusterRequest {
        let (member, token) = (through.ip.to_string(), token.to_owned());
        JoinClusterRequest { member, token, address: Some(self.ip.to_string()), root_key_hash: None }
    }

    pub(crate) async fn join(&self, through: &Self, token: &str) -> Result<Joined, Failure> {
        self.agent().call::<api::JoinCluster>(self.joining(through, token)).await
    }

    pub(crate) async fn open(&self, request: OpenRequest) -> Result<(OpenReply, Upgraded), Failure> {
        self.agent().upgrade::<api::Open>(request).await
    }

    /// Has a network deleted on another host.
    pub(crate) async fn delete(&self, on: &Self, key: &str, network: &str) -> Result<(), Failure> {
        delete(&self.client.on(Some(&on.name)).with_key(key).service("network").deadline(LIMIT), network).await
    }

    /// Waits until this host knows as much as the hub.
    pub(crate) async fn knows(&self, hub: &Hub) {
        wait_for_async("the newest directory", LIMIT, async || {
            let (has, newest) = (self.status().await.revision, hub.directory().revision);
            if has == newest { Ok(()) } else { Err(format!("revision {has} of {newest}")) }
        })
        .await
        .expect("it comes");
    }

    /// Waits until the links are as wanted.
    pub(crate) async fn has_links(&self, what: &str, is_wanted: impl Fn(&[api::LinkStatus]) -> bool) {
        let look = async || seen(self.status().await.links, |links| is_wanted(links));
        wait_for_async(what, LIMIT, look).await.expect("they come to be so");
    }
}

pub(crate) async fn delete(service: &ServiceClient, network: &str) -> Result<(), Failure> {
    let request = NetworkRequest { name: network.parse().expect("a name") };
    service.call::<DeleteNetwork>(request).await.map(drop)
}

pub(crate) fn wanted(service: &str, node: Option<&Host>, key: Option<&str>) -> OpenRequest {
    OpenRequest {
        service: service.to_owned(),
        instance: (service == "vmm").then(|| "m1".to_owned()),
        node: node.map(|node| node.name.clone()),
        key: key.map(str::to_owned),
        bulk: false,
    }
}

/// The first node with the hub, and others that have joined it; each knows all of them.
pub(crate) async fn cluster(others: &[&str]) -> (Host, Vec<Host>) {
    let first = Host::started("n1").await;
    first.init().await.expect("a cluster");
    let mut hosts = Vec::new();
    for name in others {
        let host = Host::started(name).await;
        host.join(&first, &first.hub.token()).await.expect("joined");
        hosts.push(host);
    }
    first.knows(&first.hub).await;
    for host in &hosts {
        host.knows(&first.hub).await;
    }
    (first, hosts)
}

impl Service {
    fn start(self: &Arc<Self>, directory: &Path) {
        let serve = |noun, instance: Option<&str>, router: Router| {
            let mut context = Context::for_test(noun, directory, vec![]);
            context.instance = instance.map(str::to_owned);
            context.identities = identities();
            context.serve(router).expect("served");
        };
        let mut router = Router::new();
        let service = Arc::clone(self);
        router.once::<DeleteNetwork, _, _>(move |call| Arc::clone(&service).delete(call.request));
        serve("network", None, router);
        std::fs::create_dir(directory.join("vmm")).expect("made");
        let mut router = Router::new();
        router.upgrade::<AttachConsole, _, _, _, _>(|_call| {
            std::future::ready(Ok((AttachConsoleReply { position: 0, lost_bytes: 0 }, echo)))
        });
        serve("vmm", Some("m1"), router);
    }

    async fn delete(self: Arc<Self>, request: NetworkRequest) -> Result<Empty, Failure> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if request.name.as_str() == "slow" {
            self.go.acquire().await.expect("it is not closed").forget();
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(Empty {})
    }

    /// Waits until so many calls were begun.
    pub(crate) async fn began(&self, calls: usize) {
        let look = async || seen(self.begun.load(Ordering::SeqCst), |begun| *begun >= calls);
        wait_for_async("calls to begin", LIMIT, look).await.expect("they begin");
    }
}

async fn echo(io: Upgraded) {
    let (mut reader, mut writer) = tokio::io::split(io);
    // It ends with the caller.
    drop(tokio::io::copy(&mut reader, &mut writer).await);
    drop(tokio::io::AsyncWriteExt::shutdown(&mut writer).await);
}
