//! `acp.cluster`: objects in memory, a watch, slots that are noted.

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Router, Sink};
use acp_wire_api::{
    Empty,
    cluster::{
        Create, CreateRequest, Delete, DeleteReply, Get, GetReply, GetRequest, GetStatus, Publish, PublishReply,
        PublishRequest, Status, Watch, WatchChange, WatchEvent, WatchReply, WriteReply,
    },
};
use acp_wire_model::{Object, object::Facet};

use super::World;

pub(crate) fn router(world: &World) -> Router {
    let mut router = Router::new();
    let w = world.clone();
    router.once::<Create, _, _>(move |call| create(w.clone(), call.request));
    let w = world.clone();
    router.once::<Get, _, _>(move |call| get(w.clone(), call.request));
    let w = world.clone();
    router.once::<Delete, _, _>(move |call| delete(w.clone(), call.request.uid));
    let w = world.clone();
    router.once::<Publish, _, _>(move |call| publish(w.clone(), call.request));
    router.once::<GetStatus, _, _>(move |_call| std::future::ready(Ok(status())));
    let w = world.clone();
    router.stream::<Watch, _, _>(move |_call, sink| watch(w.clone(), sink));
    router
}

async fn create(world: World, request: CreateRequest) -> Result<WriteReply, Failure> {
    world.called::<Create>("").await?;
    world.change(|state| {
        let taken =
            state.objects.values().any(|object| object.kind == request.kind && object.name == request.name.as_str());
        if taken {
            return Err(Failure::new(
                Code::AlreadyExists,
                format!("{} {:?} exists", request.kind, request.name.as_str()),
            ));
        }
        state.index += 1;
        let uid = request.uid.expect("the hypervisor draws the identity");
        let name = request.name.to_string();
        let mut spec = request.spec;
        for nic in spec.get_mut("nics").and_then(|nics| nics.as_array_mut()).into_iter().flatten() {
            nic["mac"] = serde_json::json!("52:54:00:00:00:01");
        }
        let object =
            Object { kind: request.kind, name, uid, version: state.index, spec: spec.clone(), slots: Vec::new() };
        state.objects.insert(uid, object);
        Ok(WriteReply { uid, index: state.index, spec })
    })
}

async fn get(world: World, request: GetRequest) -> Result<GetReply, Failure> {
    world.called::<Get>(request.kind.name()).await?;
    let state = world.lock();
    let named = |object: &&Object| Some(&object.name) == request.name.as_ref() || Some(object.uid) == request.uid;
    let object = state.objects.values().filter(|object| object.kind == request.kind).find(named);
    let object = object.cloned().ok_or_else(|| Failure::not_found("no such object"))?;
    Ok(GetReply { object, index: state.index })
}

async fn delete(world: World, uid: Uid) -> Result<DeleteReply, Failure> {
    world.called::<Delete>("").await?;
    world.change(|state| {
        state.objects.remove(&uid).ok_or_else(|| Failure::not_found("no such object"))?;
        state.index += 1;
        Ok(DeleteReply { index: state.index })
    })
}

async fn publish(world: World, request: PublishRequest) -> Result<PublishReply, Failure> {
    world.change(|state| {
        if request.replace {
            state.metas.clear();
        }
        for report in request.reports {
            match report.data {
                Some(data) if report.facet == Facet::Meta => drop(state.metas.insert(report.uid, data)),
                Some(_stats) => {}
                None => drop(state.metas.remove(&report.uid)),
            }
        }
    });
    std::future::ready(Ok(PublishReply { unknown: Vec::new() })).await
}

async fn watch(world: World, sink: Sink<Watch>) -> Result<WatchReply, Failure> {
    let mut changes = world.changed.subscribe();
    let mut told = std::collections::BTreeMap::new();
    let mut is_first = true;
    loop {
        changes.mark_unchanged();
        let now = world.lock().objects.clone();
        let mut events: Vec<WatchEvent> = Vec::new();
        for (uid, object) in &now {
            if told.get(uid) != Some(object) {
                events.push(WatchEvent { change: WatchChange::Put, object: Some(object.clone()) });
            }
        }
        for (uid, object) in &told {
            if !now.contains_key(uid) {
                events.push(WatchEvent { change: WatchChange::Delete, object: Some(object.clone()) });
            }
        }
        if std::mem::take(&mut is_first) {
            events.push(WatchEvent { change: WatchChange::Synced, object: None });
        }
        told = now;
        if !events.is_empty() {
            sink.send(WatchReply { events, cursor: String::new() }).await?;
        }
        changes.changed().await.map_err(|_gone| Failure::unavailable("the world is gone"))?;
    }
}

fn status() -> Status {
    let _empty = Empty {};
    Status {
        cluster: Uid::from_u128(100),
        node_uid: Uid::from_u128(101),
        node: "test".parse().expect("a name"),
        epoch: "1-0".to_owned(),
        index: 1,
        hash: String::new(),
        objects: 0,
        slots: 0,
        watches: 0,
        store_bytes: 0,
        stalled: String::new(),
        source: "hub".to_owned(),
        heard_ms: Some(0),
        degraded: String::new(),
        feature_level: 1,
        anchor: 0,
    }
}
