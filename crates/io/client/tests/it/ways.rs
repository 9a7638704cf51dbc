//! Which way a call goes, and what is said of it.

use std::{
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    sync::{Arc, Mutex},
};

use acp_base::Code;
use acp_dev_nodes::{Nodes, name, only};
use acp_io_client::{Client, DEADLINE_DEFAULT, ServiceClient, key_file};
use acp_io_daemon::Router;
use acp_wire_api::{
    Empty, Method,
    agent::{Open, OpenReply},
    daemon::GetHealth,
    error,
    hypervisor::DeleteSystem,
    storage::{ImportImage, ImportImageRequest},
    vmm::{AttachConsole, AttachConsoleReply, AttachConsoleRequest},
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{client, hypervisor};

const SECRET: &str = "acpk.5eed";

#[tokio::test]
async fn calls_to_another_node_share_a_conversation() {
    let mut nodes = Nodes::start();
    nodes.add("n2", "network", Vec::new(), Router::new());
    let client = client(&nodes).on(Some(&name("n2"))).with_key(SECRET);
    for _ in 0..20 {
        let health = client.service("network").call::<GetHealth>(Empty {}).await.expect("answered");
        assert_eq!((health.service.as_str(), health.node.as_str()), ("network", "n2"));
    }
    let script = nodes.script();
    assert_eq!(script.opens.len(), 1, "one conversation for all of them");
    let open = &script.opens[0];
    assert_eq!((open.node.as_ref(), open.key.as_deref(), open.bulk), (Some(&name("n2")), Some(SECRET), false));
}

#[tokio::test]
async fn what_is_asked_with_another_key_has_a_conversation_of_its_own() {
    let mut nodes = Nodes::start();
    nodes.add("n2", "network", Vec::new(), Router::new());
    let client = client(&nodes).on(Some(&name("n2")));
    for key in ["acpk.1", "acpk.2", "acpk.1", "acpk.2"] {
        client.with_key(key).service("network").call::<GetHealth>(Empty {}).await.expect("answered");
    }
    client.service("network").bulk().call::<GetHealth>(Empty {}).await.expect("answered");
    let script = nodes.script();
    let keys: Vec<_> = script.opens.iter().map(|open| (open.key.as_deref(), open.bulk)).collect();
    assert_eq!(keys, [(Some("acpk.1"), false), (Some("acpk.2"), false), (None, true)]);
}

#[tokio::test]
async fn this_node_is_asked_for_once_and_then_known() {
    let mut nodes = Nodes::start();
    for noun in ["network", "storage"] {
        nodes.add("n1", noun, Vec::new(), Router::new());
    }
    let client = client(&nodes).on(Some(&name("n1")));
    for noun in ["network", "storage", "network"] {
        let health = client.service(noun).call::<GetHealth>(Empty {}).await.expect("answered");
        assert_eq!((health.service.as_str(), health.node.as_str()), (noun, "n1"));
    }
    assert_eq!(nodes.script().opens.len(), 1);
}

/// Makes root's key.
fn put_root_key(nodes: &Nodes) -> String {
    let secret = format!("{}{}", key_file::PREFIX, "5e".repeat(32));
    std::fs::write(nodes.root_key(), &secret).expect("written");
    std::fs::set_permissions(nodes.root_key(), std::fs::Permissions::from_mode(0o600)).expect("set");
    secret
}

#[tokio::test]
async fn roots_key_is_shown_to_other_nodes_alone() {
    let mut nodes = Nodes::start();
    let secret = put_root_key(&nodes);
    for node in ["n1", "n2"] {
        nodes.add(node, "network", Vec::new(), Router::new());
    }
    let client = client(&nodes).with_root_key();
    for node in [Some(name("n1")), Some(name("n2")), None] {
        client.on(node.as_ref()).service("network").call::<GetHealth>(Empty {}).await.expect("answered");
    }
    let script = nodes.script();
    let opens: Vec<_> = script.opens.iter().map(|open| (open.node.as_ref(), open.key.as_deref())).collect();
    assert_eq!(opens, [(Some(&name("n2")), Some(secret.as_str()))]);
    assert_eq!(script.statuses, 1, "the agent is asked once");
}

#[tokio::test]
async fn without_roots_key_the_node_calls() {
    let mut nodes = Nodes::start();
    nodes.add("n2", "network", Vec::new(), Router::new());
    let service = client(&nodes).with_root_key().on(Some(&name("n2"))).service("network");
    service.call::<GetHealth>(Empty {}).await.expect("answered");
    assert_eq!(nodes.script().opens[0].key, None);
    std::fs::write(nodes.root_key(), "spoiled").expect("written");
    let service = client(&nodes).with_root_key().on(Some(&name("n2"))).service("network");
    let failure = service.call::<GetHealth>(Empty {}).await.expect_err("spoiled");
    assert_eq!(failure.code, Code::FailedPrecondition);
}

#[tokio::test]
async fn the_hub_is_asked_for_wherever_it_is() {
    let mut nodes = Nodes::start();
    let secret = put_root_key(&nodes);
    for node in ["n1", "n2"] {
        nodes.add(node, "hub", Vec::new(), Router::new());
    }
    let node = async |service: ServiceClient| service.call::<GetHealth>(Empty {}).await.expect("answered").node;
    for hub in ["n1", "n2"] {
        nodes.script().hub = hub.into();
        let client = client(&nodes).with_root_key();
        assert_eq!(node(client.service("hub")).await, hub);
        assert_eq!(node(client.own("hub")).await, "n1", "this node's own");
    }
    let script = nodes.script();
    let keys: Vec<_> = script.opens.iter().map(|open| open.key.as_deref()).collect();
    assert_eq!(keys, [None, None, Some(secret.as_str())], "the key is shown where the hub is not here");
}

#[tokio::test]
async fn a_console_on_another_node_is_a_stream_of_bytes() {
    let mut nodes = Nodes::start();
    let mut router = Router::new();
    router.upgrade::<AttachConsole, _, _, _, _>(|_call| {
        let echo = |mut io: acp_io_client::Upgraded| async move {
            let mut chunk = [0; 5];
            io.read_exact(&mut chunk).await.expect("they come");
            io.write_all(&chunk.map(|byte| byte.to_ascii_uppercase())).await.expect("they are taken");
        };
        std::future::ready(Ok((AttachConsoleReply { position: 7, lost_bytes: 0 }, echo)))
    });
    nodes.add("n2", "network", vec![only::<AttachConsole>(acp_wire_api::vmm::interface())], router);
    let service = client(&nodes).on(Some(&name("n2"))).service("network");
    let request = AttachConsoleRequest { backlog_bytes: None, position: None };
    let (reply, mut io) = service.upgrade::<AttachConsole>(request).await.expect("attached");
    io.write_all(b"hello").await.expect("written");
    let mut text = String::new();
    io.read_to_string(&mut text).await.expect("it ends");
    assert_eq!((reply.position, text.as_str()), (7, "HELLO"));
}

/// What a service that is full says before it was asked arrives together with the agent's answer.
#[tokio::test]
async fn what_came_with_the_agents_answer_is_not_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = UnixListener::bind(folder.path().join("agent.sock")).expect("bound");
    let agent = std::thread::spawn(move || {
        let (mut stream, _address) = listener.accept().expect("called");
        let mut call = Vec::new();
        let mut reader = std::io::BufReader::new(stream.try_clone().expect("cloned"));
        std::io::BufRead::read_until(&mut reader, 0, &mut call).expect("a call");
        assert!(String::from_utf8_lossy(&call).contains(Open::NAME));
        let reply = json!({ "parameters": OpenReply { node: "n2".into(), here: false, hops: Vec::new() } });
        let failure = acp_base::Failure::new(Code::ResourceExhausted, "network is full");
        let early = json!({ "error": error::error_name(failure.code), "parameters": error::parameters(&failure) });
        stream.write_all(format!("{reply}\0{early}\0").as_bytes()).expect("written");
        std::io::BufRead::read_until(&mut reader, 0, &mut call).expect("the next call");
    });
    let service = Client::new(folder.path()).on(Some(&name("n2"))).service("network");
    let failure = service.call::<GetHealth>(Empty {}).await.expect_err("full");
    assert_eq!((failure.code, failure.message.as_str()), (Code::ResourceExhausted, "network is full"));
    agent.join().expect("no panic");
}

#[tokio::test]
async fn a_descriptor_is_not_sent_where_it_cannot_arrive() {
    let mut nodes = Nodes::start();
    nodes.add("n2", "storage", Vec::new(), Router::new());
    let request =
        ImportImageRequest { name: name("i"), pool: None, url: None, source: Some("/tmp/i".into()), sha256: None };
    let file: OwnedFd = std::fs::File::open("/dev/null").expect("opened").into();
    let service = client(&nodes).on(Some(&name("n2"))).service("storage").deadline(DEADLINE_DEFAULT);
    let failure = service.call_fds::<ImportImage>(request, vec![file]).await.expect_err("refused");
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert!(failure.message.contains("cannot be passed to another node"), "{failure}");
}

#[tokio::test]
async fn what_no_other_node_offers_is_refused_without_asking() {
    let nodes = Nodes::start();
    let service = client(&nodes).on(Some(&name("n2"))).instance("storage-worker", "p");
    let failure = service.call::<GetHealth>(Empty {}).await.expect_err("refused");
    assert_eq!((failure.code, nodes.script().opens.len()), (Code::InvalidArgument, 0));
}

#[tokio::test]
async fn a_trace_names_every_hop_and_who_answered() {
    let mut nodes = Nodes::start();
    nodes.add("n1", "network", Vec::new(), Router::new());
    hypervisor::add(&mut nodes, "n2");
    let traces = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&traces);
    let client = client(&nodes).tracing(move |trace| told.lock().expect("no panic").push(trace));
    client.service("network").call::<GetHealth>(Empty {}).await.expect("answered");
    let far = client.on(Some(&name("n2"))).service("hypervisor");
    let request = || acp_wire_api::hypervisor::SystemRequest { name: name("web") };
    far.call::<DeleteSystem>(request()).await.expect("deleted");
    far.call::<DeleteSystem>(request()).await.expect("deleted");
    let refused = client.service("network").call::<DeleteSystem>(request()).await;
    assert_eq!(refused.map_err(|failure| failure.code), Err(Code::Unimplemented));
    crate::client(&nodes).service("network").call::<GetHealth>(Empty {}).await.expect("answered");
    let traces = traces.lock().expect("no panic");
    let seen: Vec<_> = traces
        .iter()
        .map(|trace| {
            let way: Vec<_> = trace.way.iter().map(|hop| format!("{}/{}", hop.node, hop.service)).collect();
            let answered = trace.answered.as_ref().expect("they say");
            assert!(u128::from(answered.took_us) <= trace.total.as_micros(), "{trace:?}");
            (trace.method, way.join(" "), trace.is_reused, format!("{}/{}", answered.node, answered.service))
        })
        .collect();
    let way = || "n1/agent n2/hypervisor".to_owned();
    assert_eq!(
        seen,
        [
            (GetHealth::NAME, String::new(), false, "n1/network".to_owned()),
            (DeleteSystem::NAME, way(), false, "n2/hypervisor".to_owned()),
            (DeleteSystem::NAME, way(), true, "n2/hypervisor".to_owned()),
            (DeleteSystem::NAME, String::new(), true, "n1/network".to_owned()),
        ]
    );
}

#[test]
fn no_secret_is_shown() {
    let client = Client::new("/run/acp").with_key(SECRET);
    let service = client.service("hub");
    assert!(!format!("{client:?} {service:?}").contains("5eed"));
}
