//! Two nodes in one process: directories with sockets, and an agent on the first that carries calls to the second.
//!
//! For tests of those who call: what goes which way, what is sent again, what is said of it. The sockets and the chassis
//! behind them are the product's; the agent stands in for the product's, whose links, certificates and rights have tests of
//! their own. A third member is known and cannot be reached.

mod agent;
mod hub;

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use acp_base::{Failure, Name};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::{Context, Router};
use acp_wire_api::{Interface, Method, agent::OpenRequest};
use tokio_util::sync::CancellationToken;

pub use hub::HubStandIn;

/// The longest a test waits for anything.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A name that is one.
///
/// # Panics
/// If it is none.
pub fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

/// The interface of a method without its other methods, for a daemon that answers no others.
pub fn only<M: Method>(mut interface: Interface) -> Interface {
    interface.methods.retain(|method| method.name == M::NAME);
    interface
}

/// What the agent was asked, and how it answers.
#[derive(Debug, Default)]
pub struct Script {
    /// The ways that it was asked for.
    pub opens: Vec<OpenRequest>,
    /// How often it was asked for its status.
    pub statuses: u32,
    /// What it answers first when it is asked for a way, one at a time.
    pub refusals: VecDeque<Failure>,
    /// The node that has the hub.
    pub hub: String,
    /// Ends what is carried now.
    cut: CancellationToken,
    /// Held by everything that is carried now.
    carried: Arc<()>,
}

/// The nodes `n1`, on which callers are, and `n2`.
#[derive(Debug)]
pub struct Nodes {
    folder: tempfile::TempDir,
    daemons: Vec<Context>,
    script: Arc<Mutex<Script>>,
}

impl Nodes {
    /// Two nodes with nothing but an agent on `n1`.
    ///
    /// # Panics
    /// If the directory for temporary files cannot be written.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for node in ["n1", "n2"] {
            std::fs::create_dir(folder.path().join(node)).expect("a folder");
        }
        let mut nodes = Self { folder, daemons: Vec::new(), script: Arc::default() };
        let router = agent::router(&nodes.script, nodes.folder.path(), &nodes.root_key());
        nodes.add("n1", "agent", agent::interfaces(), router);
        nodes
    }

    /// The directory of a node's sockets.
    pub fn run(&self, node: &str) -> PathBuf {
        self.folder.path().join(node)
    }

    /// Where the key of root of `n1` lies, if there is one.
    pub fn root_key(&self) -> PathBuf {
        self.run("n1").join("root.key")
    }

    /// What the agent was asked, and how it answers.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        locked(&self.script)
    }

    /// Starts a daemon.
    ///
    /// # Panics
    /// If its socket cannot be bound.
    pub fn add(&mut self, node: &str, noun: &'static str, interfaces: Vec<Interface>, router: Router) {
        let mut context = Context::for_test(noun, &self.run(node), interfaces);
        context.node = name(node);
        context.serve(router).expect("it serves");
        context.ready();
        self.daemons.push(context);
    }

    /// Ends everything that is carried, as an agent that ends does; returns when it has.
    pub async fn cut(&self) -> anyhow::Result<()> {
        let carried = {
            let mut script = self.script();
            std::mem::take(&mut script.cut).cancel();
            std::mem::take(&mut script.carried)
        };
        let is_over = async || seen(Arc::strong_count(&carried), |count| *count == 1);
        wait_for_async("the end of what is carried", LIMIT, is_over).await.map(drop)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for daemon in &self.daemons {
            daemon.drain.cancel();
        }
    }
}

fn locked(script: &Mutex<Script>) -> MutexGuard<'_, Script> {
    script.lock().unwrap_or_else(PoisonError::into_inner)
}
