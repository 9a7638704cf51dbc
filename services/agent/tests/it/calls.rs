//! Calls through both agents: who gets through, as whom, and what is said of the way.

use std::sync::atomic::Ordering;

use acp_base::{Change, Code, Retry};
use acp_wire_api::{
    Empty, Scope,
    agent::{self as api, MeasureRequest},
    daemon::GetHealth,
    vmm::{AttachConsole, AttachConsoleRequest},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Host, LIMIT, cluster, wanted};

#[tokio::test]
async fn a_call_goes_through_both_agents_with_a_key_and_the_way_is_told() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let key = n1.hub.key("ops", Scope::Write, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    for (from, to) in [(&n1, n2), (n2, &n1)] {
        from.delete(to, &key, "a").await.expect("deleted");
        from.delete(to, &key, "b").await.expect("on the same conversation");
        assert_eq!(to.service.done.load(Ordering::SeqCst), 2);
        let (reply, _io) = from.open(wanted("network", Some(to), Some(&key))).await.expect("opened");
        let way: Vec<(&str, &str, &str)> =
            reply.hops.iter().map(|hop| (hop.node.as_str(), hop.service.as_str(), hop.how.as_str())).collect();
        let (node, name) = (to.name.as_str(), reply.node.as_str());
        assert_eq!((name, reply.here), (node, false));
        assert_eq!(way, [(node, "agent", "link"), (node, "network", "socket")]);
    }
}

#[tokio::test]
async fn without_a_key_a_node_may_call_what_names_it_and_nothing_else() {
    let (n1, others) = cluster(&["n2"]).await;
    let elsewhere = n1.client.on(Some(&others[0].name)).service("network").deadline(LIMIT);
    elsewhere.call::<GetHealth>(Empty {}).await.expect("nodes ask each other how they are");
    let denied = crate::world::delete(&elsewhere, "a").await.expect_err("root of one node is nobody on another");
    assert_eq!((denied.code, denied.changed), (Code::PermissionDenied, Change::None));
    assert!(denied.message.contains("node n1"), "{denied}");
    assert_eq!(others[0].service.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn on_the_own_node_callers_go_themselves_and_keys_count() {
    let (n1, _others) = cluster(&[]).await;
    let (reply, _io) = n1.open(wanted("network", Some(&n1), None)).await.expect("here");
    assert!(reply.here && reply.node == "n1" && reply.hops.len() == 1, "{reply:?}");
    let (reply, _io) = n1.open(wanted("hub", None, None)).await.expect("the hub is here");
    assert!(reply.here, "{reply:?}");
    let weak = n1.hub.key("weak", Scope::Read, None);
    let strong = n1.hub.key("strong", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    n1.delete(&n1, &strong, "a").await.expect("deleted");
    let denied = n1.delete(&n1, &weak, "b").await.expect_err("root, with a key that may not");
    assert_eq!(denied.code, Code::PermissionDenied);
    assert_eq!(n1.service.done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_node_on_its_own_says_so() {
    let alone = Host::started("n9").await;
    let (reply, _io) = alone.open(wanted("network", None, None)).await.expect("here");
    assert!(reply.here && reply.node == "n9", "{reply:?}");
    let status = alone.status().await;
    assert!(status.cluster.is_none() && status.address.is_none() && status.revision == 0, "{status:?}");
    let members = alone.agent().call::<api::ListMembers>(Empty {}).await.expect("itself");
    assert_eq!(members.nodes.len(), 1);
    let other = Host::new("n8");
    let unknown = alone.open(wanted("network", Some(&other), None)).await.expect_err("no such node");
    assert_eq!(unknown.code, Code::NotFound);
    let key = format!("acpk.{}", "a".repeat(64));
    assert_eq!(
        alone.open(wanted("network", None, Some(&key))).await.expect_err("no keys").code,
        Code::PermissionDenied
    );
    tokio::net::TcpStream::connect((alone.ip, 9932)).await.expect_err("the door is closed");
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let cases = [
        ("dnsmasq", None, Code::NotFound),
        ("storage-worker", Some("p1"), Code::NotFound),
        ("vmm", Some("m2"), Code::NotFound),
        ("vmm", Some("../hub"), Code::InvalidArgument),
        ("vmm", None, Code::InvalidArgument),
        ("network", Some("m1"), Code::InvalidArgument),
    ];
    for (service, instance, code) in cases {
        let request =
            api::OpenRequest { instance: instance.map(str::to_owned), ..wanted(service, Some(n2), Some(&key)) };
        assert_eq!(n1.open(request).await.expect_err(service).code, code, "{service} {instance:?}");
    }
    let nobody = Host::new("n7");
    let unknown = n1.open(wanted("network", Some(&nobody), Some(&key))).await.expect_err("no member");
    assert_eq!((unknown.code, unknown.retry), (Code::NotFound, Retry::Never));
}

#[tokio::test]
async fn a_console_goes_through_and_bulk_has_a_connection_of_its_own() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let key = n1.hub.key("ops", Scope::Operate, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let there = n1.client.on(Some(&n2.name)).with_key(&key);
    let request = AttachConsoleRequest { backlog_bytes: None, position: None };
    let attached = there.instance("vmm", "m1").upgrade::<AttachConsole>(request).await;
    let (_reply, mut console) = attached.expect("attached");
    let sent: Vec<u8> = (0..200_000_u32).map(|number| u8::try_from(number % 251).expect("small")).collect();
    let mut back = vec![0; sent.len()];
    let (mut reader, mut writer) = tokio::io::split(&mut console);
    let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut back));
    written.and(read.map(drop)).expect("echoed");
    assert!(back == sent, "what comes back is what was typed");
    // The end of one side is the end of the other.
    console.shutdown().await.expect("said");
    assert_eq!(console.read(&mut [0; 1]).await.expect("an end"), 0);

    let bulk = api::OpenRequest { bulk: true, ..wanted("agent", Some(n2), Some(&key)) };
    let (reply, io) = n1.open(bulk).await.expect("a bulk stream");
    assert_eq!(reply.hops[0].how, "dialled");
    n2.has_links("a bulk link", |links| links.iter().any(|link| link.class == "bulk" && link.conversations == 1)).await;
    drop(io);
    n2.has_links("its end", |links| links.iter().all(|link| link.class != "bulk")).await;
    let measured = MeasureRequest { send_bytes: 100_000, receive_bytes: 300_000 };
    let (_reply, mut io) = there.service("agent").upgrade::<api::Measure>(measured).await.expect("measured");
    io.write_all(&vec![1; 100_000]).await.expect("sent");
    let mut received = Vec::new();
    io.read_to_end(&mut received).await.expect("received");
    assert_eq!(received.len(), 300_000);
}
