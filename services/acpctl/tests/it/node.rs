//! A node of fake daemons, and the program that talks to them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use acp_base::{Failure, Uid};
use acp_dev_nodes::Nodes;
use acp_io_daemon::{Context, Router};
use acp_wire_api::{
    Interface, Method,
    cluster::{Get, GetReply, GetStatus, List, ListReply, Status},
};
use acp_wire_model::{
    Kind, Object,
    object::{Facet, Slot},
};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A run directory with daemons in it.
pub(crate) struct Node {
    folder: PathBuf,
    name: &'static str,
    daemons: Vec<Context>,
    /// What is removed with it.
    _temporary: Option<tempfile::TempDir>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path().to_owned();
        Self { folder, name: "n1", daemons: Vec::new(), _temporary: Some(temporary) }
    }

    /// One of two nodes with an agent between them.
    pub(crate) fn of(nodes: &Nodes, name: &'static str) -> Self {
        Self { folder: nodes.run(name), name, daemons: Vec::new(), _temporary: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a daemon that answers these methods alone.
    pub(crate) fn add(&mut self, noun: &'static str, interface: Interface, methods: &[&str], router: Router) {
        self.add_instance(noun, None, vec![only(interface, methods)], router);
    }

    pub(crate) fn add_instance(
        &mut self,
        noun: &'static str,
        instance: Option<String>,
        interfaces: Vec<Interface>,
        router: Router,
    ) {
        let mut context = Context::for_test(noun, &self.folder, interfaces);
        context.node = self.name.parse().expect("a name");
        if instance.is_some() {
            std::fs::create_dir_all(self.folder.join(noun)).expect("a folder");
        }
        context.instance = instance;
        context.serve(router).expect("the fake daemon serves");
        context.ready();
        self.daemons.push(context);
    }

    /// Adds a cluster service that holds these objects.
    pub(crate) fn add_cluster(&mut self, objects: Vec<Object>) -> Objects {
        let objects: Objects = Arc::new(Mutex::new(objects));
        let mut router = Router::new();
        let held = Arc::clone(&objects);
        router.stream::<List, _, _>(move |call, _sink| {
            let objects = held.lock().expect("no panic");
            let wanted = objects.iter().filter(|object| Some(object.kind) == call.request.kind).cloned().collect();
            std::future::ready(Ok(ListReply { objects: wanted, index: 1 }))
        });
        let held = Arc::clone(&objects);
        router.once::<Get, _, _>(move |call| {
            let objects = held.lock().expect("no panic");
            let name = call.request.name.unwrap_or_default();
            let found = objects.iter().find(|object| object.kind == call.request.kind && object.name == name).cloned();
            let reply = found.map(|object| GetReply { object, index: 1 });
            std::future::ready(
                reply.ok_or_else(|| Failure::not_found(format!("there is no {} {name:?}", call.request.kind))),
            )
        });
        let status = database(self.name);
        router.once::<GetStatus, _, _>(move |_call| std::future::ready(Ok(status.clone())));
        let played = [List::NAME, Get::NAME, GetStatus::NAME];
        self.add("cluster", acp_wire_api::cluster::interface(), &played, router);
        objects
    }

    /// The program with these arguments and no terminal.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acpctl"));
        command.args(line.split(' ')).env("ACP_RUN_DIR", &self.folder).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, line: &str) -> Run {
        let output = timeout(LIMIT, self.command(line).output()).await;
        Run::of(output.unwrap_or_else(|_elapsed| panic!("acpctl {line} does not end")).expect("acpctl runs"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for daemon in &self.daemons {
            daemon.drain.cancel();
        }
    }
}

pub(crate) type Objects = Arc<Mutex<Vec<Object>>>;

/// The interface without the methods that are not named.
pub(crate) fn only(mut interface: Interface, methods: &[&str]) -> Interface {
    interface.methods.retain(|method| methods.contains(&method.name));
    interface
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The output of a run that succeeded.
    pub(crate) fn success(self) -> String {
        assert_eq!((self.status, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.success()).expect("JSON")
    }
}

/// What the cluster service of a node says of itself.
pub(crate) fn database(node: &str) -> Status {
    Status {
        cluster: Uid::from_u128(9),
        node_uid: Uid::from_u128(1),
        node: node.parse().expect("a name"),
        epoch: "2-0a".into(),
        index: 42,
        hash: String::new(),
        objects: 1,
        slots: 1,
        watches: 0,
        store_bytes: 0,
        stalled: String::new(),
        source: "hub".into(),
        heard_ms: Some(100),
        degraded: String::new(),
        feature_level: 1,
        anchor: 1,
    }
}

/// A system as its own node has it.
pub(crate) fn system_on(node: &str, number: u128, name: &str, state: &str) -> Object {
    let mut object = system(number, name, state);
    object.spec["node"] = node.into();
    object
}

/// A system as another node than its own has it.
pub(crate) fn unseen(mut object: Object) -> Object {
    object.slots.clear();
    object
}

/// A system as the cluster has it.
pub(crate) fn system(number: u128, name: &str, state: &str) -> Object {
    let meta = json!({"state": state, "intent": "on", "reason": "", "node": "n1", "since_ms": 0});
    Object {
        kind: Kind::System,
        name: name.into(),
        uid: Uid::from_u128(number),
        version: 5,
        spec: json!({"node": "n1", "cpus": 2, "memory_bytes": 268_435_456, "nics": [{"network": "default", "address": "10.77.0.5"}]}),
        slots: vec![
            slot(Facet::Meta, 90_000, meta),
            slot(Facet::Stats, 1_000, json!({"cpu_percent": 3.0, "memory_bytes": 1})),
        ],
    }
}

fn slot(facet: Facet, age_ms: u64, data: Value) -> Slot {
    Slot { reporter: "hypervisor@n1".into(), facet, incarnation: 1, sequence: 1, age_ms, data }
}

/// How often something was done, by name.
pub(crate) type Counts = Arc<Mutex<BTreeMap<&'static str, u32>>>;
