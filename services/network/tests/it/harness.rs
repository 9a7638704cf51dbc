//! A node of one daemon.

use std::{
    collections::BTreeSet,
    future::Future,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    process::Command,
    time::Duration,
};

use acp_base::{Failure, Uid};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::Client;
use acp_io_daemon::{Context, Daemon};
use acp_io_netlink::{Link, Netlink};
use acp_network::{Config, Network};
use acp_wire_api::network as api;
use acp_wire_model::{
    Kind,
    network::{NetworkMeta, NetworkState, NetworkStats},
    object::Facet,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use nix::sched::{CloneFlags, unshare};

use crate::peers::{FakeCluster, FakeFramework};

/// How long a condition may take on a loaded machine; most hold within milliseconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A daemon with its peers in a network namespace of its own.
pub(crate) struct Node {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) client: Client,
    pub(crate) cluster: FakeCluster,
    pub(crate) framework: FakeFramework,
    pub(crate) netlink: Netlink,
    metrics: PrometheusHandle,
    daemon: Option<Context>,
}

/// Runs `test` with a node that has just been started, on a thread that is alone in its network namespace.
pub(crate) fn on_node<F: Future<Output = ()>>(test: impl FnOnce(Node) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a network namespace needs root");
        return;
    }
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        ip(&["link", "set", "lo", "up"]);
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let _recording = metrics::set_default_local_recorder(&recorder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut node = Node::new(handle);
            node.start();
            test(node).await;
        });
    };
    std::thread::spawn(body).join().expect("the test failed, see above");
}

impl Node {
    fn new(metrics: PrometheusHandle) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // dnsmasq runs as another user and reads below.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("our own directory");
        let client = Client::new(directory.path());
        let cluster = FakeCluster::start(directory.path());
        let framework = FakeFramework::start(directory.path());
        let (netlink, driver) = Netlink::open().expect("a netlink socket");
        cluster.tasks().spawn("test-netlink", driver.run());
        Self { directory, client, cluster, framework, netlink, metrics, daemon: None }
    }

    /// Starts the daemon, as the framework would after it ended.
    pub(crate) fn start(&mut self) {
        let context = Context::for_test("network", self.directory.path(), (Network::INTERFACES)());
        std::fs::create_dir_all(&context.paths.state).expect("a state directory");
        let config =
            Config { reconcile_interval_ms: 500, name_servers: Some(vec![[9, 9, 9, 9].into()]), ..Config::default() };
        let running = context.clone();
        self.cluster.tasks().spawn("test-daemon", async move {
            Network::run(config, running).await.expect("the daemon ends only when it is told to");
        });
        self.daemon = Some(context);
    }

    /// Ends the daemon.
    pub(crate) async fn stop(&mut self) {
        let context = self.daemon.take().expect("it runs");
        context.drain.cancel();
        assert!(context.tasks.join(LIMIT).await, "tasks outlive the drain");
    }

    pub(crate) async fn create(&self, name: &str, address: &str) -> Result<(), Failure> {
        let request = api::CreateNetworkRequest {
            name: name.parse().expect("a good name"),
            address: address.to_owned(),
            dhcp: None,
            nat: None,
        };
        self.client.service("network").call::<api::CreateNetwork>(request).await.map(drop)
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failure> {
        let request = api::NetworkRequest { name: name.parse().expect("a good name") };
        self.client.service("network").call::<api::DeleteNetwork>(request).await.map(drop)
    }

    pub(crate) async fn open_tap(&self, system: Uid, nic: u32) -> Result<(api::OpenTapReply, OwnedFd), Failure> {
        let request = api::OpenTapRequest { system, nic };
        let (reply, fds) = self.client.service("network").call_fds::<api::OpenTap>(request, Vec::new()).await?;
        let [tap] = fds.try_into().expect("one descriptor comes with the reply");
        Ok((reply, tap))
    }

    /// What was changed so far: steps performed and tables set.
    pub(crate) fn changes(&self) -> BTreeSet<String> {
        let text = self.metrics.render();
        let counts = |line: &&str| line.starts_with("acp_network_steps") || line.starts_with("acp_network_filter");
        text.lines().filter(counts).map(str::to_owned).collect()
    }

    pub(crate) async fn links(&self) -> Vec<Link> {
        self.netlink.links().await.expect("links are listed")
    }

    pub(crate) async fn link(&self, name: &str) -> Option<Link> {
        self.links().await.into_iter().find(|link| link.name == name)
    }

    pub(crate) fn meta(&self, network: Uid) -> Option<NetworkMeta> {
        self.cluster.slot(network, Facet::Meta)
    }

    pub(crate) fn stats(&self, uid: Uid) -> Option<NetworkStats> {
        self.cluster.slot(uid, Facet::Stats)
    }

    /// Waits until a network is up.
    pub(crate) async fn wait_up(&self, network: Uid) {
        let is_up = |meta: &NetworkMeta| meta.state == NetworkState::Up;
        let look = async || seen(self.meta(network), |meta| meta.as_ref().is_some_and(is_up));
        wait_for_async("the network to be up", LIMIT, look).await.expect("it comes up");
    }

    /// The identity of a declared network.
    pub(crate) fn uid(&self, name: &str) -> Uid {
        self.cluster.find(Kind::Network, name).expect("it is declared").uid
    }
}

/// Runs a program of the distribution in this namespace and answers what it wrote.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it writes text")
}

pub(crate) fn ip(arguments: &[&str]) {
    run("ip", arguments);
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).expect("it can be read").trim_end().to_owned()
}
