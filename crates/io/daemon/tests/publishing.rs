//! The reporter and the watch of objects against a cluster service that comes and goes.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use acp_base::Uid;
use acp_dev_wait::{seen, wait_for_async};
use acp_io_client::{Client, ObjectEvent, ObjectWatch, Reporter};
use acp_io_daemon::{Context, Router};
use acp_wire_api::cluster::{self, Publish, PublishReply, PublishRequest, Watch, WatchChange, WatchEvent, WatchReply};
use acp_wire_model::{Kind, Object, object::Facet};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// The longest a test waits for anything.
const LIMIT: Duration = Duration::from_secs(10);

type Published = Arc<Mutex<Vec<PublishRequest>>>;

/// A cluster service of one object that keeps what is published.
fn start_cluster(directory: &Path) -> (Context, Published) {
    let mut interface = cluster::interface();
    interface.methods.retain(|method| ["acp.cluster.Publish", "acp.cluster.Watch"].contains(&method.name));
    let context = Context::for_test("cluster", directory, vec![interface]);
    let published = Published::default();
    let mut router = Router::new();
    let kept = Arc::clone(&published);
    router.once::<Publish, _, _>(move |call| {
        kept.lock().expect("no panic").push(call.request);
        std::future::ready(Ok(PublishReply { unknown: Vec::new() }))
    });
    router.stream::<Watch, _, _>(|_call, sink| async move {
        let object = Object {
            kind: Kind::Pool,
            name: "default".into(),
            uid: Uid::from_u128(1),
            version: 1,
            spec: json!({}),
            slots: vec![],
        };
        let put = WatchEvent { change: WatchChange::Put, object: Some(object) };
        let synced = WatchEvent { change: WatchChange::Synced, object: None };
        sink.send(WatchReply { events: vec![put, synced], cursor: "1".into() }).await?;
        std::future::pending().await
    });
    context.serve(router).expect("a free path");
    (context, published)
}

async fn stop(context: Context) {
    context.drain.cancel();
    assert!(context.tasks.join(LIMIT).await, "tasks are left");
}

/// What the cluster service would hold now: every slot by identity and facet.
fn slots(published: &Published) -> Vec<(u128, serde_json::Value)> {
    let mut slots = std::collections::BTreeMap::new();
    for request in published.lock().expect("no panic").iter() {
        if request.replace {
            slots.clear();
        }
        for report in &request.reports {
            let key = (report.uid.as_u128(), report.facet);
            match &report.data {
                Some(data) => drop(slots.insert(key, data.clone())),
                None => drop(slots.remove(&key)),
            }
        }
    }
    slots.into_iter().map(|((uid, _), data)| (uid, data)).collect()
}

/// Waits until these are the slots.
async fn wait_slots(published: &Published, wanted: &[(u128, u64)]) {
    let wanted: Vec<_> = wanted.iter().map(|(uid, value)| (*uid, json!(value))).collect();
    let look = async || seen(slots(published), |slots| *slots == wanted);
    wait_for_async("the slots", LIMIT, look).await.expect("they are published");
}

#[tokio::test]
async fn everything_is_said_again_after_the_cluster_service_restarts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (cluster, published) = start_cluster(directory.path());
    let reporter = Reporter::new(Client::new(directory.path()), 5);
    let drain = CancellationToken::new();
    let own = acp_io_daemon::Tasks::default();
    own.spawn("reporter", reporter.clone().run(drain.clone()));
    let put = |number: u128, value: u64| {
        reporter.put(Kind::Volume, Uid::from_u128(number), Some(number.to_string()), Facet::Meta, &json!(value));
    };
    put(1, 10);
    put(2, 20);
    wait_slots(&published, &[(1, 10), (2, 20)]).await;
    put(1, 11);
    reporter.remove(Kind::Volume, Uid::from_u128(2));
    wait_slots(&published, &[(1, 11)]).await;
    let said = published.lock().expect("no panic").len();
    assert!(said <= 5, "one conversation, a call per change: {said} calls");
    stop(cluster).await;
    put(3, 30);
    let (cluster, published) = start_cluster(directory.path());
    wait_slots(&published, &[(1, 11), (3, 30)]).await;
    let first = published.lock().expect("no panic")[0].clone();
    assert!(first.replace && first.incarnation == 5, "{first:?}");
    drain.cancel();
    assert!(own.join(LIMIT).await);
    stop(cluster).await;
}

#[tokio::test]
async fn a_lost_watch_comes_back_with_the_state() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (cluster, _published) = start_cluster(directory.path());
    let mut watch = ObjectWatch::new(Client::new(directory.path()), vec![Kind::Pool]);
    assert!(matches!(watch.next().await, ObjectEvent::Put(object) if object.name == "default"));
    assert_eq!(watch.next().await, ObjectEvent::Synced);
    stop(cluster).await;
    let (cluster, _published) = start_cluster(directory.path());
    let next = tokio::time::timeout(LIMIT, watch.next()).await.expect("taken up again");
    assert_eq!(next, ObjectEvent::Resync);
    assert!(matches!(watch.next().await, ObjectEvent::Put(_)));
    assert_eq!(watch.next().await, ObjectEvent::Synced);
    stop(cluster).await;
}
