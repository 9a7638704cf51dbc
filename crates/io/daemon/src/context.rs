//! What a daemon is given when it starts.

use std::{
    collections::BTreeMap,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use acp_base::Name;
use acp_io_client::Client;
use tokio_util::sync::CancellationToken;

use crate::{Fatal, Router, Server, Tasks, access::Identities, notify, telemetry::LogControl};

/// Where a daemon finds and leaves files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Sockets and what need not survive a reboot, shared by all daemons.
    pub run: PathBuf,
    /// The daemon's own state: `<state>/<noun>`, for an instance `<state>/<noun>/<instance>`.
    pub state: PathBuf,
    /// The root of all state.
    pub state_root: PathBuf,
    /// Log files of units.
    pub log: PathBuf,
    /// Configuration files.
    pub config: PathBuf,
    /// ACP's programs.
    pub bin: PathBuf,
}

/// How the daemon is, for `acp.daemon.GetHealth` and for the supervisor.
#[derive(Clone, Debug, Default)]
pub struct Health {
    shared: Arc<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    announced: AtomicBool,
    reason: Mutex<String>,
    /// How the node is called since it was renamed under this daemon.
    renamed: Mutex<Option<Name>>,
}

impl Health {
    /// The daemon lacks something; `reason` says what, in a sentence.
    pub fn degrade(&self, reason: impl Into<String>) {
        *self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason.into();
    }

    /// The daemon lacks nothing.
    pub fn ok(&self) {
        self.degrade(String::new());
    }

    /// What the daemon lacks; empty: nothing.
    pub fn reason(&self) -> String {
        self.shared.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the daemon has said that it is ready.
    pub fn is_announced(&self) -> bool {
        self.shared.announced.load(Ordering::Relaxed)
    }

    /// The node has got another name, by which this daemon answers without being started again.
    pub fn rename_node(&self, name: Name) {
        *self.shared.renamed.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
    }

    fn announce(&self) {
        self.shared.announced.store(true, Ordering::Relaxed);
    }
}

/// What a daemon is given when it starts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// The daemon's noun.
    pub noun: &'static str,
    /// This node's name when the daemon was started.
    pub node: Name,
    /// The instance, for a unit that has several.
    pub instance: Option<String>,
    /// Where files are.
    pub paths: Paths,
    /// Starts tasks that the drain waits for.
    pub tasks: Tasks,
    /// Cancelled when the daemon shall end.
    pub drain: CancellationToken,
    /// Calls the other services.
    pub client: Client,
    /// The restart counter: grows from life to life of this daemon on this node.
    pub incarnation: u64,
    /// How the daemon is.
    pub health: Health,
    /// Who is who.
    pub identities: Identities,
    pub(crate) log: LogControl,
    pub(crate) interfaces: Arc<Vec<acp_wire_api::Interface>>,
    pub(crate) listeners: Arc<Mutex<BTreeMap<String, UnixListener>>>,
    pub(crate) socket_gid: Option<u32>,
}

impl Context {
    /// How the node is called now.
    pub(crate) fn node_now(&self) -> Name {
        let renamed = self.health.shared.renamed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        renamed.unwrap_or_else(|| self.node.clone())
    }

    /// A context for running a daemon inside a test: its socket is bound in `directory`, where its state lies, too.
    pub fn for_test(noun: &'static str, directory: &Path, interfaces: Vec<acp_wire_api::Interface>) -> Self {
        let paths = Paths {
            run: directory.to_owned(),
            state: directory.join("state").join(noun),
            state_root: directory.join("state"),
            log: directory.join("log"),
            config: directory.join("etc"),
            bin: directory.join("bin"),
        };
        Self {
            noun,
            node: "test".parse().expect("a valid name"),
            instance: None,
            client: Client::new(&paths.run),
            paths,
            tasks: Tasks::default(),
            drain: CancellationToken::new(),
            incarnation: crate::wall_now().0,
            health: Health::default(),
            identities: Identities::default(),
            log: LogControl::detached(),
            interfaces: Arc::new(crate::entry::with_common(interfaces)),
            listeners: Arc::default(),
            socket_gid: None,
        }
    }

    /// The inherited socket of this name, once.
    pub fn take_listener(&self, name: &str) -> Option<UnixListener> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// Starts answering calls at the daemon's own socket: the inherited one, else one that is bound here. Returns at once.
    pub fn serve(&self, router: Router) -> Result<Server, Fatal> {
        let listener = match self.take_listener(crate::listener::VARLINK) {
            Some(listener) => listener,
            None => crate::listener::bind(&self.socket_path(), self.socket_gid)?,
        };
        Server::start(self, router, listener)
    }

    /// Tells the supervisor that the daemon does its work from now on.
    pub fn ready(&self) {
        self.health.announce();
        notify::ready();
        tracing::info!(node = %self.node, "ready");
    }

    fn socket_path(&self) -> PathBuf {
        match &self.instance {
            Some(instance) => self.paths.run.join(self.noun).join(format!("{instance}.sock")),
            None => self.paths.run.join(format!("{}.sock", self.noun)),
        }
    }
}
