//! etcd and LXD as Debian builds them, in the node's network namespace, with nothing of theirs left behind.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use acp_dev_testkit::{namespace::Namespace, wait_for};
use anyhow::Result;

use crate::{
    block_on,
    http::{Place, Question},
    programs::{Peers, Running},
};

/// How long one may take to answer after its start. LXD loads its database and asks the kernel what it can.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Where etcd listens for clients and for other members, of which there are none.
const ETCD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 2_379);
const ETCD_PEERS: &str = "http://127.0.0.1:2380";
/// The key `key`, and three bytes of a value, in base 64.
const KEY: &str = "a2V5";
const THREE_BYTES: &str = "YWFh";

/// One member of etcd alone.
pub(super) struct Etcd {
    _process: Running,
}

impl Etcd {
    /// Starts it with one key, whose value makes an answer of about so many bytes.
    pub(super) fn start(peers: &Peers, namespace: &Namespace, dir: &Path, answer_bytes: usize) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let client = format!("http://{ETCD}");
        let mut command = peers.command("usr/bin/etcd")?;
        command.arg("--data-dir").arg(dir.join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", ETCD_PEERS, "--initial-advertise-peer-urls", ETCD_PEERS]);
        command.args(["--initial-cluster", &format!("default={ETCD_PEERS}"), "--logger", "zap"]);
        let process = start(command, namespace, dir)?;
        let value = THREE_BYTES.repeat(answer_bytes / THREE_BYTES.len());
        let put = Question::post(Place::Tcp(ETCD), "/v3/kv/put", &format!(r#"{{"key":"{KEY}","value":"{value}"}}"#));
        wait_answer("etcd", namespace, &put)?;
        Ok(Self { _process: process })
    }

    pub(super) fn question(&self) -> Question {
        Question::post(Place::Tcp(ETCD), "/v3/kv/range", &format!(r#"{{"key":"{KEY}"}}"#))
    }
}

/// LXD with nothing set up.
pub(super) struct Lxd {
    socket: PathBuf,
    _process: Running,
}

impl Lxd {
    /// Starts it with mounts of its own, which go with it.
    pub(super) fn start(peers: &Peers, namespace: &Namespace, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let program = peers.command("usr/bin/lxd")?;
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(program.get_program()).env("LXD_DIR", dir);
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let this = Self { socket: dir.join("unix.socket"), _process: start(command, namespace, dir)? };
        wait_answer("LXD", namespace, &this.question())?;
        Ok(this)
    }

    /// What `lxc query /1.0/profiles/default` asks.
    pub(super) fn question(&self) -> Question {
        Question::get(Place::Unix(self.socket.clone()), "/1.0/profiles/default", "")
    }
}

/// Starts it in a namespace; what it says goes into a file.
fn start(mut command: Command, namespace: &Namespace, dir: &Path) -> Result<Running> {
    let log = File::create(dir.join("log"))?;
    command.stdout(log.try_clone()?).stderr(log);
    namespace.run(|| Running::start(&mut command))
}

fn wait_answer(who: &str, namespace: &Namespace, question: &Question) -> Result<()> {
    wait_for(&format!("{who} to answer"), START_LIMIT, || {
        namespace.run(|| block_on(question.ask())).map(drop).map_err(|error| format!("{error:#}"))
    })
}
