//! The cluster service and the framework, as far as the network service sees them.

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command},
    sync::{Arc, Mutex, MutexGuard},
};

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Context, Router, Tasks, new_uid, wall_now};
use acp_wire_api::{
    Interface,
    cluster::{self, WatchChange, WatchEvent},
    framework,
};
use acp_wire_model::{
    Kind, Object,
    object::Facet,
    unit::{UnitMeta, UnitState, UnitStats},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::broadcast;

/// Changes a watcher may lag behind: more than any test makes.
const CHANGES_MAX: usize = 1024;

/// The part of an interface that a peer plays.
fn part(interface: Interface, played: &[&str]) -> Interface {
    let methods = interface.methods.into_iter().filter(|method| played.contains(&method.short_name())).collect();
    Interface { methods, ..interface }
}

/// The cluster service.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    context: Context,
    state: Arc<Mutex<ClusterState>>,
    changes: broadcast::Sender<WatchEvent>,
}

#[derive(Default)]
struct ClusterState {
    objects: BTreeMap<Uid, Object>,
    slots: BTreeMap<(Uid, Facet), Value>,
    /// What the next network gets for a uid.
    next_uid: Option<Uid>,
    refuses_delete: bool,
    index: u64,
}

impl FakeCluster {
    pub(crate) fn start(directory: &Path) -> Self {
        let context = Context::for_test(
            "cluster",
            directory,
            vec![part(cluster::interface(), &["Create", "Delete", "Publish", "Get", "Watch"])],
        );
        let this = Self { context, state: Arc::default(), changes: broadcast::channel(CHANGES_MAX).0 };
        let mut router = Router::new();
        this.route_writes(&mut router);
        this.route_reads(&mut router);
        drop(this.context.serve(router).expect("the socket is free"));
        this
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.context.tasks
    }

    /// Declares an object, and says so to watchers unless `is_quiet`.
    pub(crate) fn put(&self, object: Object, is_quiet: bool) {
        self.lock().objects.insert(object.uid, object.clone());
        if !is_quiet {
            self.say(WatchChange::Put, object);
        }
    }

    pub(crate) fn remove(&self, uid: Uid) {
        let object = self.lock().objects.remove(&uid).expect("it is declared");
        self.say(WatchChange::Delete, object);
    }

    pub(crate) fn set_next_uid(&self, uid: Uid) {
        self.lock().next_uid = Some(uid);
    }

    pub(crate) fn refuse_delete(&self, refuses: bool) {
        self.lock().refuses_delete = refuses;
    }

    pub(crate) fn find(&self, kind: Kind, name: &str) -> Option<Object> {
        self.lock().objects.values().find(|object| object.kind == kind && object.name == name).cloned()
    }

    pub(crate) fn slot<T: DeserializeOwned>(&self, uid: Uid, facet: Facet) -> Option<T> {
        let value = self.lock().slots.get(&(uid, facet)).cloned()?;
        Some(serde_json::from_value(value).expect("slots are of their type"))
    }

    pub(crate) fn forget_slots(&self) {
        self.lock().slots.clear();
    }

    fn lock(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().expect("no test panics while it holds this")
    }

    fn say(&self, change: WatchChange, object: Object) {
        // Without a watcher there is nobody to be told.
        drop(self.changes.send(WatchEvent { change, object: Some(object) }));
    }

    fn route_writes(&self, router: &mut Router) {
        let this = self.clone();
        router.once::<cluster::Create, _, _>(move |call| std::future::ready(this.create(call.request)));
        let this = self.clone();
        router.once::<cluster::Delete, _, _>(move |call| std::future::ready(this.delete(call.request.uid)));
        let this = self.clone();
        router.once::<cluster::Publish, _, _>(move |call| std::future::ready(Ok(this.publish(call.request))));
    }

    fn route_reads(&self, router: &mut Router) {
        let this = self.clone();
        router.once::<cluster::Get, _, _>(move |call| std::future::ready(this.get(&call.request)));
        let this = self.clone();
        router.stream::<cluster::Watch, _, _>(move |_call, sink| {
            let (mut changes, first) = (this.changes.subscribe(), this.state());
            async move {
                sink.send(first).await?;
                loop {
                    let event = changes.recv().await.map_err(|error| Failure::internal(error.to_string()))?;
                    sink.send(reply(vec![event])).await?;
                }
            }
        });
    }

    fn create(&self, request: cluster::CreateRequest) -> Result<cluster::WriteReply, Failure> {
        if self.find(request.kind, request.name.as_str()).is_some() {
            return Err(Failure::new(Code::AlreadyExists, format!("a {} {} exists", request.kind, request.name)));
        }
        let (uid, index) = {
            let mut state = self.lock();
            state.index += 1;
            (state.next_uid.take().unwrap_or_else(new_uid), state.index)
        };
        let (kind, name, spec) = (request.kind, request.name.to_string(), request.spec);
        self.put(Object { kind, name, uid, version: index, spec: spec.clone(), slots: Vec::new() }, false);
        Ok(cluster::WriteReply { uid, index, spec })
    }

    fn delete(&self, uid: Uid) -> Result<cluster::DeleteReply, Failure> {
        if self.lock().refuses_delete {
            return Err(Failure::precondition("a system uses it"));
        }
        self.remove(uid);
        Ok(cluster::DeleteReply { index: 0 })
    }

    fn publish(&self, request: cluster::PublishRequest) -> cluster::PublishReply {
        let mut state = self.lock();
        if request.replace {
            state.slots.clear();
        }
        for report in request.reports {
            match report.data {
                Some(data) => drop(state.slots.insert((report.uid, report.facet), data)),
                None => drop(state.slots.remove(&(report.uid, report.facet))),
            }
        }
        cluster::PublishReply { unknown: Vec::new() }
    }

    fn get(&self, request: &cluster::GetRequest) -> Result<cluster::GetReply, Failure> {
        let state = self.lock();
        let object = state.objects.values().find(|object| {
            object.kind == request.kind
                && request.uid.is_none_or(|uid| uid == object.uid)
                && request.name.as_ref().is_none_or(|name| *name == object.name)
        });
        let object = object.cloned().ok_or_else(|| Failure::not_found(format!("there is no such {}", request.kind)))?;
        Ok(cluster::GetReply { object, index: state.index })
    }

    fn state(&self) -> cluster::WatchReply {
        let put = |object: &Object| WatchEvent { change: WatchChange::Put, object: Some(object.clone()) };
        let mut events: Vec<_> = self.lock().objects.values().map(put).collect();
        events.push(WatchEvent { change: WatchChange::Synced, object: None });
        reply(events)
    }
}

fn reply(events: Vec<WatchEvent>) -> cluster::WatchReply {
    cluster::WatchReply { events, cursor: String::new() }
}

/// The framework, which really runs dnsmasq if it is told to.
#[derive(Clone)]
pub(crate) struct FakeFramework {
    context: Context,
    units: Arc<Mutex<BTreeMap<String, FakeUnit>>>,
    runs_programs: Arc<Mutex<bool>>,
    state: Arc<Mutex<UnitState>>,
}

struct FakeUnit {
    uid: Uid,
    arguments: Vec<String>,
    state: UnitState,
    since_ms: u64,
    process: Option<Child>,
}

impl Drop for FakeUnit {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// What a test may know of a unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UnitView {
    pub(crate) arguments: Vec<String>,
    /// Another one for each unit that was made.
    pub(crate) uid: Uid,
}

impl FakeFramework {
    pub(crate) fn start(directory: &Path) -> Self {
        let context = Context::for_test(
            "framework",
            directory,
            vec![part(framework::interface(), &["ListUnits", "SpawnUnit", "RemoveUnit"])],
        );
        let this = Self {
            context,
            units: Arc::default(),
            runs_programs: Arc::default(),
            state: Arc::new(Mutex::new(UnitState::Ready)),
        };
        let mut router = Router::new();
        let own = this.clone();
        router.once::<framework::ListUnits, _, _>(move |_call| std::future::ready(Ok(own.list())));
        let own = this.clone();
        router.once::<framework::SpawnUnit, _, _>(move |call| std::future::ready(own.spawn(call.request)));
        let own = this.clone();
        router.once::<framework::RemoveUnit, _, _>(move |call| {
            drop(own.lock().remove(&call.request.name));
            std::future::ready(Ok(framework::RemoveUnitReply { unit: None }))
        });
        drop(this.context.serve(router).expect("the socket is free"));
        this
    }

    /// From now on units really run.
    pub(crate) fn run_programs(&self) {
        *self.runs_programs.lock().expect("no test panics while it holds this") = true;
    }

    pub(crate) fn unit(&self, network: Uid) -> Option<UnitView> {
        let units = self.lock();
        let unit = units.get(&format!("dnsmasq@{}", network.simple()))?;
        Some(UnitView { arguments: unit.arguments.clone(), uid: unit.uid })
    }

    /// From now on every unit is in this state, whatever is asked for.
    pub(crate) fn keep_in(&self, state: UnitState) {
        *self.state.lock().expect("no test panics while it holds this") = state;
        self.lock().values_mut().for_each(|unit| unit.state = state);
    }

    /// Lets every unit be older, as if time had passed.
    pub(crate) fn age_units(&self) {
        self.lock().values_mut().for_each(|unit| unit.since_ms = 0);
    }

    /// Loses every unit without a word.
    pub(crate) fn lose_units(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, FakeUnit>> {
        self.units.lock().expect("no test panics while it holds this")
    }

    fn list(&self) -> framework::ListUnitsReply {
        framework::ListUnitsReply { units: self.lock().iter().map(|(name, unit)| view(name, unit)).collect() }
    }

    fn spawn(&self, request: framework::SpawnUnitRequest) -> Result<framework::UnitReply, Failure> {
        assert_eq!(request.template, "dnsmasq");
        let name = format!("{}@{}", request.template, request.instance);
        let runs = *self.runs_programs.lock().expect("no test panics while it holds this");
        let state = *self.state.lock().expect("no test panics while it holds this");
        let mut units = self.lock();
        if units.get(&name).is_some_and(|unit| unit.arguments != request.arguments) {
            return Err(Failure::new(Code::AlreadyExists, format!("{name} runs with other arguments")));
        }
        let unit = units.entry(name.clone()).or_insert_with(|| FakeUnit {
            uid: new_uid(),
            process: runs.then(|| dnsmasq(&request.arguments)),
            arguments: request.arguments,
            state,
            since_ms: wall_now().0,
        });
        Ok(framework::UnitReply { unit: view(&name, unit) })
    }
}

fn view(name: &str, unit: &FakeUnit) -> framework::Unit {
    let meta = UnitMeta {
        state: unit.state,
        reason: String::new(),
        template: "dnsmasq".to_owned(),
        pid: unit.process.as_ref().map(Child::id),
        uid: 0,
        restarts: 0,
        exit: None,
        since_ms: unit.since_ms,
    };
    framework::Unit { name: name.to_owned(), uid: unit.uid, meta, stats: UnitStats::default() }
}

/// Runs dnsmasq as the template does: as an own user with three capabilities.
fn dnsmasq(arguments: &[String]) -> Child {
    const CAPABILITIES: &str = "+net_admin,+net_raw,+net_bind_service";
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=61006", "--regid=61006", "--clear-groups", "--no-new-privs", "--pdeathsig=KILL"])
        .args(["--inh-caps", "--ambient-caps", "--bounding-set"].map(|set| format!("{set}=-all,{CAPABILITIES}")))
        .args(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null"])
        .args(arguments)
        .process_group(0);
    command.spawn().expect("util-linux is installed")
}
