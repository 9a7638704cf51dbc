//! The services of one node.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Context, Router, Sink};
use acp_wire_api::{
    Empty, cluster,
    cluster::{WatchChange, WatchEvent, WatchReply},
    framework, hub, hypervisor, jobs,
    jobs::{JobReply, Started},
};
use acp_wire_model::{
    Kind, Object,
    job::{Job, JobState},
    object::{Facet, Slot},
};
use serde_json::json;
use tokio::sync::watch;

use super::{control, history, part};

/// What the services of a node have and were asked.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) objects: Vec<Object>,
    /// Systems that were asked to be created.
    pub(crate) created: Vec<String>,
    /// What else was asked that changes something.
    pub(crate) asked: Vec<serde_json::Value>,
    /// How many entries the log has.
    pub(crate) entries: u64,
    /// Ids of the requests that the cluster service got.
    pub(crate) request_ids: Vec<String>,
}

/// The services of one node.
#[derive(Clone)]
pub(crate) struct Node {
    state: Arc<Mutex<State>>,
    /// The number of the newest change, which is the cursor of watches.
    change: watch::Sender<u64>,
    /// How far the one job is.
    job: watch::Sender<JobState>,
    /// Whether the hypervisor answers.
    pub(crate) answers: watch::Sender<bool>,
    contexts: Arc<Vec<Context>>,
}

const PLAYED_BY_CLUSTER: [&str; 10] =
    ["Get", "List", "Watch", "GetStatus", "ReadLog", "GetAt", "ListAt", "Undo", "VerifyLog", "ListLeases"];
const PLAYED_BY_HUB: [&str; 10] = [
    "CreateKey",
    "ListNodes",
    "GetQuorum",
    "Transfer",
    "Park",
    "Rename",
    "ListRequests",
    "Approve",
    "SetRole",
    "SetMetadata",
];

/// The one job there is.
pub(crate) const JOB: Uid = Uid::from_u128(0xb0b);

pub(crate) fn job(state: JobState) -> Job {
    Job {
        id: JOB,
        verb: "system-start".to_owned(),
        owner: "hypervisor".to_owned(),
        object_kind: Kind::System,
        object_name: "web".to_owned(),
        state,
        step: String::new(),
        percent: None,
        cancellable: true,
        started_ms: 1,
        ended_ms: None,
        error: None,
    }
}

impl Node {
    pub(crate) fn start(name: &str, folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        let mut contexts = Vec::new();
        let mut context = |noun: &'static str, interfaces| {
            let mut context = Context::for_test(noun, folder, interfaces);
            context.node = name.parse().expect("a name");
            contexts.push(context.clone());
            context
        };
        let cluster = context("cluster", vec![part(cluster::interface(), &PLAYED_BY_CLUSTER)]);
        let played = ["CreateSystem", "StartSystem", "ResetSystem"];
        let hypervisor = context("hypervisor", vec![part(hypervisor::interface(), &played), jobs::interface()]);
        let storage = context("storage", vec![part(jobs::interface(), &["Get"])]);
        let framework = context("framework", vec![part(framework::interface(), &["ReadLog"])]);
        let hub = context("hub", vec![part(hub::interface(), &PLAYED_BY_HUB)]);
        let this = Self {
            state: Arc::default(),
            change: watch::channel(0).0,
            job: watch::channel(JobState::Running).0,
            answers: watch::channel(true).0,
            contexts: Arc::new(contexts),
        };
        this.serve_cluster(&cluster);
        this.serve_hypervisor(&hypervisor);
        serve_others(&storage, &framework, &hub, &this.state);
        this.put("web");
        this
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// Declares a system.
    pub(crate) fn put(&self, name: &str) {
        let object = system(name, self.state().objects.len());
        self.state().objects.push(object);
        self.change.send_modify(|number| *number += 1);
    }

    /// Declares a system of another node.
    pub(crate) fn put_of(&self, node: &str, name: &str) {
        self.put(name);
        if let Some(object) = self.state().objects.last_mut() {
            object.spec["node"] = node.into();
        }
    }

    /// Adds an entry to the log.
    pub(crate) fn log(&self) {
        self.state().entries += 1;
        self.change.send_modify(|number| *number += 1);
    }

    /// Ends the job.
    pub(crate) fn end_job(&self) {
        self.job.send_replace(JobState::Succeeded);
    }

    /// Ends the cluster service and all its connections.
    pub(crate) async fn end_cluster(&self) {
        self.contexts[0].drain.cancel();
        assert!(self.contexts[0].tasks.join(crate::harness::LIMIT).await, "it ends");
    }

    fn serve_cluster(&self, context: &Context) {
        let mut router = Router::new();
        let this = self.clone();
        router.once::<cluster::Get, _, _>(move |call| {
            this.state().request_ids.push(call.context.id.clone());
            let wanted = |object: &&Object| {
                let by_uid = call.request.uid.is_some_and(|uid| uid == object.uid);
                object.kind == call.request.kind && (by_uid || call.request.name.as_ref() == Some(&object.name))
            };
            let found = this.state().objects.iter().find(wanted).cloned();
            let missing = || Failure::not_found(format!("there is no {} {:?}", call.request.kind, call.request.name));
            std::future::ready(found.map(|object| cluster::GetReply { object, index: 1 }).ok_or_else(missing))
        });
        let this = self.clone();
        router.stream::<cluster::List, _, _>(move |call, sink| {
            let mut objects = this.state().objects.clone();
            objects.retain(|object| call.request.kind.is_none_or(|kind| kind == object.kind));
            objects.sort_by(|one, other| one.name.cmp(&other.name));
            async move {
                let second = objects.split_off(objects.len().min(2));
                if !second.is_empty() {
                    sink.send(cluster::ListReply { objects, index: 1 }).await?;
                    objects = second;
                }
                Ok(cluster::ListReply { objects, index: 1 })
            }
        });
        let this = self.clone();
        router.stream::<cluster::Watch, _, _>(move |call, sink| this.clone().watch(call.request.cursor, sink));
        history::add(&mut router, &self.state, &self.change);
        drop(context.serve(router).expect("the socket is free"));
    }

    /// The state or what came after the cursor, then each change. A cursor that is not one of ours is too old.
    async fn watch(self, cursor: Option<String>, sink: Sink<cluster::Watch>) -> Result<WatchReply, Failure> {
        let mut changes = self.change.subscribe();
        let resumed = cursor.as_ref().and_then(|cursor| cursor.strip_prefix('c')?.parse::<usize>().ok());
        let bare = |change| WatchEvent { change, object: None };
        let mut events =
            if cursor.is_some() && resumed.is_none() { vec![bare(WatchChange::Resync)] } else { Vec::new() };
        let mut told = resumed.unwrap_or(0);
        let mut is_first = true;
        loop {
            let all = self.state().objects.clone();
            let put = |object: Object| WatchEvent { change: WatchChange::Put, object: Some(object) };
            events.extend(all.iter().skip(told).cloned().map(put));
            told = all.len();
            if std::mem::take(&mut is_first) {
                events.push(bare(WatchChange::Synced));
            }
            sink.send(WatchReply { events: std::mem::take(&mut events), cursor: format!("c{told}") }).await?;
            changes.changed().await.map_err(|error| Failure::internal(error.to_string()))?;
        }
    }

    fn serve_hypervisor(&self, context: &Context) {
        let mut router = Router::new();
        let this = self.clone();
        router.once::<hypervisor::CreateSystem, _, _>(move |call| {
            let (this, name) = (this.clone(), call.request.name.to_string());
            async move {
                this.state().created.push(name.clone());
                this.let_through().await?;
                if name == "taken" {
                    return Err(Failure::new(Code::AlreadyExists, "a system taken exists"));
                }
                if name == "busy" {
                    return Err(Failure::unavailable("the hypervisor is starting"));
                }
                Ok(hypervisor::CreateSystemReply { uid: Uid::from_u128(9), index: 1, job: JOB })
            }
        });
        let this = self.clone();
        router.once::<hypervisor::StartSystem, _, _>(move |call| {
            let job = (call.request.name.as_str() == "web").then_some(JOB);
            let this = this.clone();
            async move { this.let_through().await.map(|()| Started { job }) }
        });
        router.once::<hypervisor::ResetSystem, _, _>(|_call| std::future::ready(Ok(Empty {})));
        self.add_jobs(&mut router);
        drop(context.serve(router).expect("the socket is free"));
    }

    async fn let_through(&self) -> Result<(), Failure> {
        let mut answers = self.answers.subscribe();
        answers.wait_for(|answers| *answers).await.map(drop).map_err(|error| Failure::internal(error.to_string()))
    }

    fn add_jobs(&self, router: &mut Router) {
        let this = self.clone();
        let find = move |id| match id {
            JOB => Ok(JobReply { job: job(*this.job.borrow()) }),
            other => Err(Failure::not_found(format!("there is no job {other}"))),
        };
        let get = find.clone();
        router.once::<jobs::Get, _, _>(move |call| std::future::ready(get(call.request.id)));
        let cancel = find.clone();
        router.once::<jobs::Cancel, _, _>(move |call| std::future::ready(cancel(call.request.id)));
        router.once::<jobs::List, _, _>(|_call| std::future::ready(Ok(jobs::ListReply { jobs: Vec::new() })));
        let this = self.clone();
        router.stream::<jobs::Watch, _, _>(move |call, sink| {
            let (mut states, first) = (this.job.subscribe(), find(call.request.id));
            async move {
                sink.send(first?).await?;
                states.changed().await.map_err(|error| Failure::internal(error.to_string()))?;
                let state = *states.borrow();
                Ok(JobReply { job: job(state) })
            }
        });
    }
}

fn serve_others(storage: &Context, framework: &Context, hub: &Context, state: &Arc<Mutex<State>>) {
    let mut router = Router::new();
    router.once::<jobs::Get, _, _>(|call| {
        std::future::ready(Err(Failure::not_found(format!("there is no job {}", call.request.id))))
    });
    drop(storage.serve(router).expect("the socket is free"));
    let mut router = Router::new();
    router.stream::<framework::ReadLog, _, _>(|call, sink| async move {
        let line = |number| format!("{} {number}", call.request.name);
        sink.send(framework::ReadLogReply { lines: vec![line(1), line(2)] }).await?;
        Ok(framework::ReadLogReply { lines: vec![line(call.request.lines)] })
    });
    drop(framework.serve(router).expect("the socket is free"));
    let mut router = Router::new();
    router.once::<hub::ListNodes, _, _>(|_call| {
        std::future::ready(Err(Failure::unavailable("the control plane is away")))
    });
    router.once::<hub::CreateKey, _, _>(|call| {
        let hub::CreateKeyRequest { name, scope, .. } = call.request;
        let key = hub::Key {
            uid: JOB,
            name: name.to_string(),
            hash: "00".repeat(32),
            scope,
            created_ms: 1,
            expires_ms: None,
        };
        std::future::ready(Ok(hub::CreateKeyReply { key, secret: crate::harness::secret('5') }))
    });
    control::add(&mut router, state);
    drop(hub.serve(router).expect("the socket is free"));
}

fn system(name: &str, number: usize) -> Object {
    let meta = json!({ "state": "running", "intent": "on", "node": "test", "since_ms": 1 });
    let slot = Slot {
        reporter: "hypervisor@test".to_owned(),
        facet: Facet::Meta,
        incarnation: 1,
        sequence: 1,
        age_ms: 7,
        data: meta,
    };
    let uid = Uid::from_u128(100 + u128::try_from(number).expect("few"));
    let spec = json!({ "node": "test", "cpus": 1, "memory_bytes": 67_108_864 });
    Object { kind: Kind::System, name: name.to_owned(), uid, version: 1, spec, slots: vec![slot] }
}
