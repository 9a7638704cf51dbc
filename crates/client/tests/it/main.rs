//! The client against daemons of two nodes, over real sockets.

use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use acp_client::{
    Code, Connection, Failure, JOB_LIMIT, JobNews, ObjectNews, Options, Uid,
    api::{
        Method as _,
        cluster::{
            self, Get, GetReply, GetStatus, List, ListReply, Status, Watch, WatchChange, WatchEvent, WatchReply,
        },
        hypervisor::{self, StartSystem},
        jobs::{self, JobReply, Started},
    },
    key_file,
    model::{
        Kind, Object,
        job::{Job, JobState},
    },
};
use acp_dev_nodes::{Nodes, name, only};
use acp_io_daemon::Router;
use futures_util::future::join_all;

fn connection(nodes: &Nodes) -> Connection {
    let options = Options { run_dir: nodes.run("n1"), timeout: Duration::from_millis(500), ..Options::default() };
    Connection::new(options).expect("no key file, no failure")
}

fn system(name: &str) -> Object {
    let spec = serde_json::Value::Null;
    Object { kind: Kind::System, name: name.into(), uid: Uid::from_u128(1), version: 1, spec, slots: Vec::new() }
}

/// A cluster service with one system, named after its node. Its first watch ends after the first event.
fn add_cluster(nodes: &mut Nodes, node: &'static str) {
    let mut router = Router::new();
    router.stream::<List, _, _>(move |_call, _sink| {
        std::future::ready(Ok(ListReply { objects: vec![system(&format!("web-{node}"))], index: 1 }))
    });
    router.once::<Get, _, _>(|call| {
        let name = call.request.name.unwrap_or_default();
        let mut object = system(&name);
        if let Some(node) = name.strip_prefix("web-") {
            object.spec = serde_json::json!({ "node": node });
        }
        let found = (name != "none").then_some(GetReply { object, index: 1 });
        std::future::ready(found.ok_or_else(|| Failure::not_found("there is no system none")))
    });
    router.once::<GetStatus, _, _>(move |_call| std::future::ready(Ok(database(node))));
    router.stream::<Watch, _, _>(|call, sink| async move {
        let event = |name: &str| WatchEvent { change: WatchChange::Put, object: Some(system(name)) };
        let reply = |name: &str| WatchReply { events: vec![event(name)], cursor: name.to_owned() };
        if call.request.cursor.is_none() {
            sink.send(reply("first")).await?;
            return Err(Failure::unavailable("cluster is stopping"));
        }
        sink.send(reply(&format!("after-{}", call.request.cursor.unwrap_or_default()))).await?;
        std::future::pending().await
    });
    let mut interface = cluster::interface();
    let played = [List::NAME, Get::NAME, GetStatus::NAME, Watch::NAME];
    interface.methods.retain(|method| played.contains(&method.name));
    nodes.add(node, "cluster", vec![interface], router);
}

fn database(node: &str) -> Status {
    Status {
        cluster: Uid::from_u128(9),
        node_uid: Uid::from_u128(1),
        node: name(node),
        epoch: "1-0a".into(),
        index: 1,
        hash: String::new(),
        objects: 1,
        slots: 0,
        watches: 0,
        store_bytes: 0,
        stalled: String::new(),
        source: String::new(),
        heard_ms: None,
        degraded: String::new(),
        feature_level: 1,
        anchor: 1,
    }
}

fn job(state: JobState) -> Job {
    Job {
        id: Uid::from_u128(7),
        verb: "system-start".into(),
        owner: "hypervisor".into(),
        object_kind: Kind::System,
        object_name: "web".into(),
        state,
        step: "boot".into(),
        percent: Some(40),
        cancellable: false,
        started_ms: 0,
        ended_ms: None,
        error: None,
    }
}

/// A hypervisor whose job ends at the third time that it is watched; before it says how it stands and goes away.
fn add_hypervisor(nodes: &mut Nodes, node: &'static str) -> Arc<AtomicU32> {
    let watched = Arc::new(AtomicU32::new(0));
    let mut router = Router::new();
    router.once::<StartSystem, _, _>(|_call| std::future::ready(Ok(Started { job: Some(Uid::from_u128(7)) })));
    let count = Arc::clone(&watched);
    router.stream::<jobs::Watch, _, _>(move |_call, sink| {
        let is_last = count.fetch_add(1, Ordering::SeqCst) == 2;
        async move {
            sink.send(JobReply { job: job(JobState::Running) }).await?;
            if is_last { Ok(JobReply { job: job(JobState::Succeeded) }) } else { Err(Failure::unavailable("stopping")) }
        }
    });
    let interfaces = vec![only::<StartSystem>(hypervisor::interface()), only::<jobs::Watch>(jobs::interface())];
    nodes.add(node, "hypervisor", interfaces, router);
    watched
}

#[tokio::test]
async fn one_node_that_is_away_does_not_keep_the_others_from_answering() {
    let mut nodes = Nodes::start();
    add_cluster(&mut nodes, "n1");
    add_cluster(&mut nodes, "n2");
    let acp = connection(&nodes);
    let members = acp.nodes().members().await.expect("known").nodes;
    let asked = members.iter().map(|member| {
        let acp = acp.on(Some(&member.name));
        async move { acp.systems().list().await.map(|systems| systems[0].name.clone()) }
    });
    let answers = join_all(asked).await;
    assert_eq!((&answers[0], &answers[1]), (&Ok("web-n1".into()), &Ok("web-n2".into())));
    let failure = answers[2].as_ref().expect_err("it is not there");
    assert_eq!((failure.code, failure.message.as_str()), (Code::Unavailable, "node n3 cannot be reached"));
}

#[tokio::test]
async fn a_job_on_another_node_is_followed_across_what_is_lost() {
    let mut nodes = Nodes::start();
    let watched = add_hypervisor(&mut nodes, "n2");
    let acp = connection(&nodes).on(Some(&name("n2")));
    let id = acp.systems().start(&name("web")).await.expect("started").job.expect("a job");
    let (mut running, mut waiting) = (0, 0);
    let ended = acp.jobs("hypervisor").follow(id, JOB_LIMIT, |news| match news {
        JobNews::Running(job) => running += u32::from(job.percent == Some(40)),
        JobNews::Waiting => waiting += 1,
    });
    assert_eq!(ended.await.expect("it succeeds").state, JobState::Succeeded);
    assert_eq!((running, waiting, watched.load(Ordering::SeqCst)), (3, 2, 3));
}

#[tokio::test]
async fn a_watch_goes_on_after_its_cursor() {
    let mut nodes = Nodes::start();
    add_cluster(&mut nodes, "n2");
    let acp = connection(&nodes).on(Some(&name("n2")));
    let mut watch = acp.objects().watch(vec![Kind::System], None);
    let mut cursors = Vec::new();
    for _ in 0..3 {
        match watch.next().await.expect("it goes on") {
            ObjectNews::Events(events, cursor) => {
                assert_eq!(events[0].object.as_ref().map(|object| object.name.as_str()), Some(cursor.as_str()));
                cursors.push(cursor);
            }
            ObjectNews::Lost(failure) => cursors.push(failure.message),
        }
    }
    assert_eq!(cursors, ["first", "cluster is stopping", "after-first"]);
}

#[tokio::test]
async fn a_key_file_counts_on_every_node() {
    let mut nodes = Nodes::start();
    add_cluster(&mut nodes, "n1");
    let path = nodes.run("n1").join("ci.key");
    let options = || Options { run_dir: nodes.run("n1"), key_file: Some(path.clone()), ..Options::default() };
    assert_eq!(Connection::new(options()).expect_err("no file").code, Code::NotFound);
    let secret = format!("{}{}", key_file::PREFIX, "c1".repeat(32));
    std::fs::write(&path, &secret).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
    let failure = Connection::new(options()).expect_err("others may read it");
    assert_eq!(failure.code, Code::FailedPrecondition);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    let acp = Connection::new(options()).expect("a key");
    nodes.script().hub = "n1".into();
    acp.systems().get(&name("web")).await.expect("answered");
    assert_eq!(nodes.script().opens[0].key.as_ref(), Some(&secret), "the agent makes the key count here, too");
    assert!(!acp.is_direct().await.expect("known"));
    assert!(!format!("{acp:?}").contains("c1c1"));
}

#[tokio::test]
async fn what_is_direct_is_known() {
    let nodes = Nodes::start();
    let acp = connection(&nodes);
    let is_direct =
        async |node: Option<&str>| acp.on(node.map(name).as_ref()).is_direct().await.expect("the agent says");
    assert_eq!((is_direct(None).await, is_direct(Some("n1")).await, is_direct(Some("n2")).await), (true, true, false));
}

#[tokio::test]
async fn a_node_without_daemons_is_said_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { run_dir: folder.path().to_owned(), ..Options::default() };
    let acp = Connection::new(options).expect("no key file, no failure");
    let failure = acp.systems().list().await.expect_err("nobody is there");
    assert!(failure.message.starts_with("cluster is not running: there is no socket "), "{failure}");
    let failure = acp.on(Some(&name("n2"))).systems().list().await.expect_err("nobody is there");
    assert!(failure.message.starts_with("agent is not running: there is no socket "), "{failure}");
}

#[tokio::test]
async fn a_system_is_asked_for_where_it_is_at_home() {
    let mut nodes = Nodes::start();
    add_cluster(&mut nodes, "n1");
    add_cluster(&mut nodes, "n2");
    let acp = connection(&nodes);
    let home = async |acp: &Connection, system: &str| acp.at_system(&name(system)).await.map(|acp| acp.node().cloned());
    assert_eq!(home(&acp, "web-n2").await, Ok(Some(name("n2"))));
    assert_eq!(home(&acp, "web-n1").await, Ok(None), "no agent is needed for what is here");
    assert_eq!(home(&acp.on(Some(&name("n1"))), "web-n2").await, Ok(Some(name("n1"))), "who names a node means it");
    assert_eq!(home(&acp, "none").await.expect_err("there is none").code, Code::NotFound);
    assert_eq!(home(&acp, "bare").await.expect_err("it is at home nowhere").code, Code::DataLoss);
    assert!(nodes.script().opens.is_empty());
}
