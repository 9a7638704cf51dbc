//! The hypervisor's peers, in process: each answers its real interface at its real socket and keeps what it was asked.
//!
//! A [`World`] is shared by all of them. It can make a method fail, hold its answer back until it is released, and tell
//! what happened in which order.

mod cluster;
mod framework;
mod hub;
mod network;
mod storage;
mod vmm;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub(crate) use hub::{HERE, THERE};

use acp_base::{Failure, Uid};
use acp_core_lease::Fact;
use acp_io_daemon::{Context, Identities, Router};
use acp_wire_api::{
    Method,
    framework::Unit,
    vmm::{ExtendLeaseRequest, MachineStatus},
};
use acp_wire_model::Object;
use tokio::sync::watch;

/// What all fakes share.
#[derive(Clone, Debug)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    /// Counts changes of anything; watchers look again when it moves.
    changed: watch::Sender<u64>,
    contexts: Arc<Mutex<BTreeMap<&'static str, Context>>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<Uid, Object>,
    pub(crate) index: u64,
    pub(crate) metas: BTreeMap<Uid, serde_json::Value>,
    pub(crate) volumes: BTreeSet<String>,
    pub(crate) units: BTreeMap<String, Unit>,
    pub(crate) machines: BTreeMap<String, watch::Sender<MachineStatus>>,
    /// Reading ends of the descriptors handed out as taps; they end when every copy is closed.
    pub(crate) taps: Vec<std::io::PipeReader>,
    pub(crate) spawned: Vec<acp_wire_api::framework::SpawnUnitRequest>,
    /// Methods called, in order, like `SpawnUnit qemu`.
    pub(crate) calls: Vec<String>,
    /// What the log says of leases.
    pub(crate) leases: BTreeMap<Uid, Fact>,
    /// How long sessions live; absent: as ever.
    pub(crate) ttl: Option<Duration>,
    /// Deadlines that machine monitors were told, in order.
    pub(crate) extended: Vec<ExtendLeaseRequest>,
    failing: BTreeMap<String, Failure>,
    held: BTreeSet<String>,
}

impl World {
    /// Every fake, serving in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let world = Self { state: Arc::default(), changed: watch::Sender::new(0), contexts: Arc::default() };
        world.seed();
        std::fs::create_dir_all(directory.join("vmm")).expect("a writable directory");
        world.serve("cluster", directory, cluster::router(&world));
        world.serve("framework", directory, framework::router(&world, directory));
        world.serve("storage", directory, storage::router(&world));
        world.serve("network", directory, network::router(&world));
        world.serve("hub", directory, hub::router(&world));
        world.serve("agent", directory, hub::agent());
        world
    }

    /// Stops one fake; its socket refuses from then on.
    pub(crate) async fn stop(&self, noun: &'static str) {
        let context = self.contexts.lock().unwrap_or_else(PoisonError::into_inner).remove(noun);
        let context = context.expect("it was started");
        context.drain.cancel();
        assert!(context.tasks.join(crate::LIMIT).await, "{noun} does not end");
    }

    fn serve(&self, noun: &'static str, directory: &Path, router: Router) {
        let context = context(noun, directory);
        context.serve(router).expect("a free socket");
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner).insert(noun, context);
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something and wakes every watcher.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let value = change(&mut self.lock());
        self.changed.send_modify(|count| *count += 1);
        value
    }

    /// Lets calls fail whose label begins so.
    pub(crate) fn fail(&self, label: &str, failure: Failure) {
        self.lock().failing.insert(label.to_owned(), failure);
    }

    /// Lets nothing fail any more.
    pub(crate) fn mend(&self) {
        self.lock().failing.clear();
    }

    /// Holds answers back of calls whose label begins so.
    pub(crate) fn hold(&self, label: &str) {
        self.lock().held.insert(label.to_owned());
    }

    /// Answers what was held back.
    pub(crate) fn release(&self) {
        self.change(|state| state.held.clear());
    }

    /// Whether a call with this label came.
    pub(crate) fn was_called(&self, label: &str) -> bool {
        self.lock().calls.iter().any(|call| call.starts_with(label))
    }

    /// How many calls with this label came.
    pub(crate) fn count(&self, label: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.starts_with(label)).count()
    }

    /// Notes a call, waits while it is held, and answers the failure that was ordered for it.
    pub(crate) async fn called<M: Method>(&self, detail: &str) -> Result<(), Failure> {
        let method = M::NAME.rsplit('.').next().unwrap_or_default();
        let label = if detail.is_empty() { method.to_owned() } else { format!("{method} {detail}") };
        let mut changes = self.changed.subscribe();
        self.change(|state| state.calls.push(label.clone()));
        while self.lock().held.iter().any(|held| label.starts_with(held.as_str())) {
            changes.changed().await.expect("the world exists as long as its fakes");
        }
        match self.lock().failing.iter().find(|(key, _)| label.starts_with(key.as_str())) {
            Some((_, failure)) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    fn seed(&self) {
        self.change(|state| {
            let mut add = |number: u128, kind, name: &str, spec: serde_json::Value| {
                let uid = Uid::from_u128(number);
                let object = Object { kind, name: name.to_owned(), uid, version: 1, spec, slots: Vec::new() };
                state.objects.insert(uid, object);
            };
            let pool = serde_json::json!({"driver": "directory", "node": "test"});
            add(1, acp_wire_model::Kind::Pool, "default", pool);
            add(2, acp_wire_model::Kind::Network, "default", serde_json::json!({"address": "10.77.0.1/24"}));
            let image = serde_json::json!({
                "pool": "default", "format": "qcow2", "size_bytes": 1000,
                "virtual_size_bytes": 64 << 20, "sha256": "0".repeat(64),
            });
            add(3, acp_wire_model::Kind::Image, "base", image);
        });
    }
}

/// A context whose callers are believed to be the hypervisor, whoever runs the test.
pub(crate) fn context(noun: &'static str, directory: &Path) -> Context {
    let mut context = Context::for_test(noun, directory, Vec::new());
    let uid = rustix::process::getuid().as_raw();
    context.identities = Identities::parse(&format!("hypervisor={uid}")).expect("well-formed");
    context
}
