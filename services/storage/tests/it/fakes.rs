//! Fake peers of the daemon: a cluster service that keeps objects and slots in memory, a framework that runs workers inside
//! the test's process.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Context, Router, Sink, new_uid};
use acp_storage::worker::{self, Pool};
use acp_wire_api::{Method, cluster as wire, framework};
use acp_wire_model::{
    Kind, Object,
    unit::{UnitMeta, UnitState, UnitStats},
};
use serde_json::Value;
use tokio::sync::watch;

use crate::rig::{config, worker_context};

/// The meta slots of a kind by name.
pub(crate) type Metas = BTreeMap<String, Value>;

/// What the fake cluster service answers.
const PLAYED: [&str; 6] =
    [wire::Create::NAME, wire::Delete::NAME, wire::Get::NAME, wire::List::NAME, wire::Watch::NAME, wire::Publish::NAME];

/// Objects and slots.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    shared: Arc<Mutex<Objects>>,
    changed: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct Objects {
    objects: BTreeMap<Uid, Object>,
    events: Vec<wire::WatchEvent>,
    slots: BTreeMap<(Uid, String), wire::Report>,
}

impl Cluster {
    pub(crate) fn start(run: &Path) -> (Self, Context) {
        let mut interface = wire::interface();
        interface.methods.retain(|method| PLAYED.contains(&method.name));
        let context = Context::for_test("cluster", run, vec![interface]);
        let cluster = Self::default();
        context.serve(cluster.routes()).expect("serves");
        (cluster, context)
    }

    /// Declares an object as if somebody had asked for it.
    pub(crate) fn declare(&self, kind: Kind, name: &str, spec: Value) -> Uid {
        self.put(kind, name, new_uid(), spec).expect("a free name")
    }

    pub(crate) fn names(&self, kind: Kind) -> Vec<String> {
        self.lock().objects.values().filter(|object| object.kind == kind).map(|object| object.name.clone()).collect()
    }

    pub(crate) fn object(&self, kind: Kind, name: &str) -> Option<Object> {
        self.lock().objects.values().find(|object| object.kind == kind && object.name == name).cloned()
    }

    /// The meta slots of a kind: by the object's name for reported kinds, by its uid for declared ones.
    pub(crate) fn metas(&self, kind: Kind) -> Metas {
        let state = self.lock();
        let metas = state.slots.iter().filter(|((_, facet), report)| facet == "Meta" && report.kind == kind);
        metas
            .map(|((uid, _), report)| {
                let declared = state.objects.get(uid).map(|object| object.name.clone());
                let name = report.name.clone().or(declared).unwrap_or_else(|| uid.to_string());
                (name, report.data.clone().unwrap_or_default())
            })
            .collect()
    }

    fn put(&self, kind: Kind, name: &str, uid: Uid, spec: Value) -> Result<Uid, Failure> {
        let mut state = self.lock();
        let is_taken =
            |object: &Object| object.kind == kind && object.name == name && object.spec["node"] == spec["node"];
        if state.objects.values().any(is_taken) {
            return Err(Failure::new(Code::AlreadyExists, format!("{kind} {name} exists")));
        }
        let object = Object { kind, name: name.to_owned(), uid, version: 1, spec, slots: Vec::new() };
        state.objects.insert(uid, object.clone());
        state.events.push(wire::WatchEvent { change: wire::WatchChange::Put, object: Some(object) });
        self.changed.send_replace(state.events.len());
        Ok(uid)
    }

    fn delete(&self, uid: Uid) -> Result<wire::DeleteReply, Failure> {
        let mut state = self.lock();
        let object = state.objects.remove(&uid).ok_or_else(|| Failure::not_found("no such object"))?;
        state.events.push(wire::WatchEvent { change: wire::WatchChange::Delete, object: Some(object) });
        self.changed.send_replace(state.events.len());
        Ok(wire::DeleteReply { index: 1 })
    }

    fn get(&self, request: &wire::GetRequest) -> Result<wire::GetReply, Failure> {
        let state = self.lock();
        let is_it = |object: &&Object| {
            object.kind == request.kind
                && request.uid.is_none_or(|uid| uid == object.uid)
                && request.name.as_ref().is_none_or(|name| *name == object.name)
                && request.node.as_ref().is_none_or(|node| object.spec["node"] == node.as_str())
        };
        let object = state.objects.values().find(is_it).cloned().ok_or_else(|| Failure::not_found("no such object"))?;
        Ok(wire::GetReply { object, index: 1 })
    }

    fn publish(&self, request: wire::PublishRequest) -> wire::PublishReply {
        let mut state = self.lock();
        if request.replace {
            state.slots.clear();
        }
        for report in request.reports {
            let key = (report.uid, format!("{:?}", report.facet));
            if report.data.is_some() {
                state.slots.insert(key, report);
            } else {
                state.slots.remove(&key);
            }
        }
        wire::PublishReply { unknown: Vec::new() }
    }

    async fn watch(self, request: wire::WatchRequest, sink: Sink<wire::Watch>) -> Result<wire::WatchReply, Failure> {
        let mut changed = self.changed.subscribe();
        let mut seen = 0;
        let mut is_first = true;
        loop {
            let mut events: Vec<_> = {
                let state = self.lock();
                let wanted = |kind| request.kinds.is_empty() || request.kinds.contains(&kind);
                let new = state.events[seen..].iter();
                let new = new.filter(|event| event.object.as_ref().is_some_and(|object| wanted(object.kind))).cloned();
                let new = new.collect();
                seen = state.events.len();
                new
            };
            if std::mem::take(&mut is_first) {
                events.push(wire::WatchEvent { change: wire::WatchChange::Synced, object: None });
            }
            sink.send(wire::WatchReply { events, cursor: String::new() }).await?;
            changed.wait_for(|count| *count > seen).await.map_err(|_gone| Failure::unavailable("over"))?;
        }
    }

    fn routes(&self) -> Router {
        let mut router = Router::new();
        let own = self.clone();
        router.once::<wire::Create, _, _>(move |call| {
            let request = call.request;
            let uid = request.uid.unwrap_or_else(new_uid);
            let made = own.put(request.kind, request.name.as_str(), uid, request.spec.clone());
            std::future::ready(made.map(|uid| wire::WriteReply { uid, index: 1, spec: request.spec }))
        });
        let own = self.clone();
        router.once::<wire::Delete, _, _>(move |call| std::future::ready(own.delete(call.request.uid)));
        let own = self.clone();
        router.once::<wire::Get, _, _>(move |call| std::future::ready(own.get(&call.request)));
        let own = self.clone();
        router.stream::<wire::List, _, _>(move |call, _sink| {
            let objects =
                own.lock().objects.values().filter(|object| call.request.kind == Some(object.kind)).cloned().collect();
            std::future::ready(Ok(wire::ListReply { objects, index: 1 }))
        });
        let own = self.clone();
        router.stream::<wire::Watch, _, _>(move |call, sink| own.clone().watch(call.request, sink));
        let own = self.clone();
        router.once::<wire::Publish, _, _>(move |call| std::future::ready(Ok(own.publish(call.request))));
        router
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unused<M: Method>(router: &mut Router) {
    router.once::<M, _, _>(|_call| std::future::ready(Err(Failure::internal("not here"))));
}

/// Runs workers in the test's process.
#[derive(Clone)]
pub(crate) struct Framework {
    run: PathBuf,
    shared: Arc<Mutex<Units>>,
}

#[derive(Default)]
struct Units {
    workers: BTreeMap<String, Context>,
    /// Instances whose next worker hangs: it takes calls and never answers.
    hanging: BTreeSet<String>,
    /// How often a unit was started anew.
    spawned: BTreeMap<String, u32>,
}

impl Framework {
    pub(crate) fn start(run: &Path) -> (Self, Context) {
        let context = Context::for_test("framework", run, vec![framework::interface()]);
        let own = Self { run: run.to_owned(), shared: Arc::default() };
        context.serve(own.routes()).expect("serves");
        (own, context)
    }

    /// Makes the worker of a pool hang from now on; its successor is well.
    pub(crate) fn hang(&self, pool: &str) {
        let mut units = self.lock();
        if let Some(worker) = units.workers.remove(pool) {
            worker.drain.cancel();
        }
        units.hanging.insert(pool.to_owned());
        let socket = self.run.join("storage-worker").join(format!("{pool}.sock"));
        std::fs::remove_file(&socket).expect("there was one");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        // Whoever connects waits in the queue of a socket that nobody accepts from.
        std::mem::forget(listener);
    }

    pub(crate) fn spawned(&self, pool: &str) -> u32 {
        self.lock().spawned.get(pool).copied().unwrap_or(0)
    }

    fn spawn(&self, request: &framework::SpawnUnitRequest) -> Result<framework::UnitReply, Failure> {
        let mut units = self.lock();
        let pool = request.instance.clone();
        if !units.workers.contains_key(&pool) && !units.hanging.contains(&pool) {
            let variable = |key: &str| request.environment[key].clone();
            let spec = Pool {
                name: pool.clone(),
                uid: variable(Pool::UID).parse().expect("a uid"),
                path: variable(Pool::PATH).into(),
                is_prepared: variable(Pool::PREPARED) == "1",
            };
            let context = worker_context(&self.run, &pool);
            worker::serve(config(), spec, &context).expect("serves");
            *units.spawned.entry(pool.clone()).or_default() += 1;
            units.workers.insert(pool.clone(), context);
        }
        Ok(framework::UnitReply { unit: unit(&pool) })
    }

    fn remove(&self, name: &str) -> framework::RemoveUnitReply {
        let mut units = self.lock();
        let pool = name.strip_prefix("storage-worker@").expect("one of ours");
        units.hanging.remove(pool);
        if let Some(worker) = units.workers.remove(pool) {
            worker.drain.cancel();
        }
        framework::RemoveUnitReply { unit: None }
    }

    fn routes(&self) -> Router {
        let mut router = Router::new();
        let own = self.clone();
        router.once::<framework::SpawnUnit, _, _>(move |call| std::future::ready(own.spawn(&call.request)));
        let own = self.clone();
        router.once::<framework::RemoveUnit, _, _>(move |call| std::future::ready(Ok(own.remove(&call.request.name))));
        unused::<framework::ListUnits>(&mut router);
        unused::<framework::GetUnit>(&mut router);
        unused::<framework::StartUnit>(&mut router);
        unused::<framework::StopUnit>(&mut router);
        unused::<framework::RestartUnit>(&mut router);
        unused::<framework::SignalUnit>(&mut router);
        unused::<framework::GetHost>(&mut router);
        unused::<framework::ListReplaced>(&mut router);
        unused::<framework::RestartFramework>(&mut router);
        router.stream::<framework::WatchUnits, _, _>(|_call, _sink| {
            std::future::ready(Err(Failure::internal("not here")))
        });
        router
            .stream::<framework::ReadLog, _, _>(|_call, _sink| std::future::ready(Err(Failure::internal("not here"))));
        router
    }

    fn lock(&self) -> MutexGuard<'_, Units> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unit(pool: &str) -> framework::Unit {
    let meta = UnitMeta {
        state: UnitState::Ready,
        reason: String::new(),
        template: "storage-worker".into(),
        pid: None,
        uid: 0,
        restarts: 0,
        exit: None,
        since_ms: 0,
    };
    framework::Unit {
        name: format!("storage-worker@{pool}"),
        uid: Uid::from_u128(1),
        meta,
        stats: UnitStats::default(),
    }
}
