//! The nodes as the control plane sees them: metadata, filters, and the stream of changes.

use std::time::{Duration, Instant};

use acp_base::Code;
use acp_dev_wait::{seen, wait_for_async};
use acp_wire_api::{
    Scope,
    cluster::SelectorOp,
    hub::{
        self as api, ListNodes, MetaCondition, MetaValue, Metadata, MetadataRequest, NodeChange, NodeFilter,
        NodeRequest, RoleRequest, WatchNodes, WatchNodesReply,
    },
    principal::PrincipalKind,
};

use crate::{
    node::{Acting, LIMIT, Node, directory, valid},
    peer::{Peer, key},
    world::World,
};

/// What the interface promises.
const SILENCE_MAX: Duration = Duration::from_secs(2);

fn set(node: &str, values: &[(&str, MetaValue)], unset: &[&str]) -> MetadataRequest {
    let set = Metadata(values.iter().map(|(key, value)| (valid(key), value.clone())).collect());
    MetadataRequest { name: valid(node), set, unset: unset.iter().map(|key| valid(key)).collect() }
}

fn zone(value: &str) -> (&'static str, MetaValue) {
    ("zone", MetaValue::Text(value.to_owned()))
}

fn in_zone(value: &str) -> NodeFilter {
    let condition = MetaCondition { name: valid("zone"), op: SelectorOp::Eq, value: zone(value).1 };
    NodeFilter { metadata: vec![condition], ..NodeFilter::default() }
}

async fn names(node: &Node, filter: NodeFilter) -> Vec<String> {
    let reply = node.call::<ListNodes>(filter).await.expect("a list");
    reply.nodes.into_iter().map(|node| node.node.name.to_string()).collect()
}

async fn watch(node: &Node, filter: NodeFilter) -> Acting {
    node.acting(key("looker", Scope::Read)).await.stream::<WatchNodes>(&filter).await
}

fn told(reply: &WatchNodesReply) -> Vec<(&str, NodeChange)> {
    reply.events.iter().map(|event| (event.node.node.name.as_str(), event.change)).collect()
}

/// The next reply with events.
async fn news(watch: &mut Acting) -> WatchNodesReply {
    loop {
        let (reply, _continues) = watch.next::<WatchNodes>().await.expect("it goes on");
        if !reply.events.is_empty() {
            return reply;
        }
    }
}

#[tokio::test]
async fn what_is_noted_of_nodes_finds_them() {
    let directory = directory();
    let (second, third) = (Peer::new("n2", 2), Peer::new("n3", 3));
    let (node, _first) = Node::with_members(directory.path(), &[&second, &third]).await;
    node.call::<api::SetMetadata>(set("n2", &[zone("a"), ("rack", MetaValue::Number(4))], &[])).await.expect("noted");
    node.call::<api::SetMetadata>(set("n3", &[zone("b")], &[])).await.expect("noted");
    assert_eq!(names(&node, in_zone("a")).await, ["n2"]);
    node.call::<api::Rename>(api::RenameRequest { name: valid("n2"), to: valid("west") }).await.expect("renamed");
    node.call::<api::SetMetadata>(set("n3", &[zone("a")], &["rack"])).await.expect("noted");
    assert_eq!(names(&node, in_zone("a")).await, ["n3", "west"]);

    let role = RoleRequest { name: valid("edge"), units: Some(vec![valid("relay")]), nodes: Some(vec![valid("n3")]) };
    node.call::<api::SetRole>(role).await.expect("a role");
    let all = NodeFilter::default;
    assert_eq!(names(&node, NodeFilter { service: Some(valid("relay")), ..all() }).await, ["n3"]);
    assert_eq!(names(&node, NodeFilter { role: Some(valid("edge")), ..in_zone("b") }).await, [""; 0]);
    assert_eq!(names(&node, NodeFilter { controller: Some(true), ..all() }).await, ["n1"]);
    let watch = node.acting(third.principal(PrincipalKind::Node)).await.watch(None).await;
    let online = NodeFilter { online: Some(true), ..all() };
    let heard = async || seen(names(&node, online.clone()).await, |found| *found == ["n3"]);
    wait_for_async("n3 to be online", LIMIT, heard).await.expect("it watches");
    drop(watch);
    node.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_what_is_noted_is_admins() {
    let directory = directory();
    let second = Peer::new("n2", 2);
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let missing = node.call::<api::SetMetadata>(set("n9", &[zone("a")], &[])).await.expect_err("nobody");
    assert_eq!((missing.code, missing.message.as_str()), (Code::NotFound, "no member is called n9"));
    let long = node.call::<api::SetMetadata>(set("n2", &[zone(&"x".repeat(257))], &[])).await.expect_err("too long");
    assert_eq!(long.code, Code::InvalidArgument);
    assert_eq!(long.message, "zone has 257 bytes, and a text of a node's metadata has at most 256");
    for principal in [key("ci", Scope::Write), second.principal(PrincipalKind::Node)] {
        let denied = node.acting(principal).await.call::<api::SetMetadata>(set("n2", &[zone("a")], &[])).await;
        assert_eq!(denied.expect_err("it is admin's").code, Code::PermissionDenied);
    }
    let edgy = NodeFilter { role: Some(valid("edgy")), ..NodeFilter::default() };
    let refused = node.call::<ListNodes>(edgy.clone()).await.expect_err("no such role");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (Code::NotFound, "there is no role edgy: see the list of roles")
    );
    let refused = watch(&node, edgy).await.next::<WatchNodes>().await.expect_err("no such role");
    assert_eq!(refused.code, Code::NotFound);
    let service = NodeFilter { service: Some(valid("ape")), ..NodeFilter::default() };
    let refused = node.call::<ListNodes>(service).await.expect_err("no such service");
    assert!(refused.code == Code::InvalidArgument && refused.message.starts_with("ape is no service"), "{refused}");
    node.stop().await;
}

#[tokio::test]
async fn the_nodes_come_first_then_each_change_and_signs_of_life_between() {
    let directory = directory();
    let (second, third) = (Peer::new("n2", 2), Peer::new("n3", 3));
    let (node, _first) = Node::with_members(directory.path(), &[&second]).await;
    let mut all = watch(&node, NodeFilter::default()).await;
    let (reply, continues) = all.next::<WatchNodes>().await.expect("it comes first");
    assert_eq!((reply.current, continues, reply.revision), (true, true, 3));
    assert_eq!(told(&reply), [("n1", NodeChange::Came), ("n2", NodeChange::Came)]);
    let mut of_a = watch(&node, in_zone("a")).await;
    let (reply, _continues) = of_a.next::<WatchNodes>().await.expect("it comes first, and there are none");
    assert_eq!((reply.current, reply.events.len()), (true, 0));

    node.call::<api::SetMetadata>(set("n2", &[zone("a")], &[])).await.expect("noted");
    let reply = news(&mut all).await;
    assert_eq!((reply.current, reply.revision, told(&reply)), (false, 4, vec![("n2", NodeChange::Changed)]));
    assert_eq!(reply.events[0].node.node.metadata.to_string(), "zone=a");
    assert_eq!(told(&news(&mut of_a).await), [("n2", NodeChange::Came)]);

    let online = node.acting(second.principal(PrincipalKind::Node)).await.watch(None).await;
    assert_eq!(told(&news(&mut all).await), [("n2", NodeChange::Online)]);
    assert!(news(&mut of_a).await.events[0].node.online);
    drop(online);
    assert_eq!(told(&news(&mut all).await), [("n2", NodeChange::Offline)]);
    assert_eq!(told(&news(&mut of_a).await), [("n2", NodeChange::Offline)]);

    let (_reply, token) = node.token(1).await;
    node.join(&token, &third).await.expect("it joins");
    assert_eq!(told(&news(&mut all).await), [("n3", NodeChange::Came)]);
    node.call::<api::RemoveNode>(NodeRequest { name: valid("n2") }).await.expect("removed");
    assert_eq!(told(&news(&mut all).await), [("n2", NodeChange::Went)]);
    assert_eq!(told(&news(&mut of_a).await), [("n2", NodeChange::Went)]);

    let heard = Instant::now();
    let (reply, _continues) = all.next::<WatchNodes>().await.expect("a sign of life");
    assert_eq!((reply.current, reply.events.len()), (false, 0));
    assert!(heard.elapsed() < SILENCE_MAX, "{:?} of silence", heard.elapsed());
    node.stop().await;
}

#[tokio::test]
async fn who_does_not_read_is_told_the_newest_state_and_not_each_one_between() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let mut slow = watch(&node, NodeFilter::default()).await;
    slow.next::<WatchNodes>().await.expect("it comes first");
    // More than sockets hold: values of 8 KiB each time.
    let rounds = 120;
    for round in 0..rounds {
        let text = |at: usize| MetaValue::Text(format!("{round:0>width$}", width = 200 + at));
        let keys: Vec<String> = (0..32).map(|at| format!("k{at}")).collect();
        let values: Vec<(&str, MetaValue)> =
            keys.iter().enumerate().map(|(at, key)| (key.as_str(), text(at))).collect();
        node.call::<api::SetMetadata>(set("n1", &values, &[])).await.expect("noted");
    }
    let newest = node.directory().await.revision;
    let mut replies = 0;
    loop {
        let reply = news(&mut slow).await;
        replies += 1;
        if reply.revision == newest {
            let value = reply.events[0].node.node.metadata.0[&valid("k0")].to_string();
            assert!(value.trim_matches('"').ends_with(&format!("{}", rounds - 1)), "{value}");
            break;
        }
    }
    assert!(replies < rounds / 2, "{replies} replies of {rounds} changes");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_voter_tells_the_same_and_another_leader_takes_nobody_for_gone() {
    let mut world = World::of_three_voters().await;
    let leader = world.leader().await;
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let all_online = NodeFilter { online: Some(true), ..NodeFilter::default() };
    for at in 0..3 {
        let online = async || {
            let listed = world.hub(at).call::<ListNodes>(all_online.clone()).await.map(|reply| reply.nodes.len());
            seen(listed, |listed| *listed == Ok(3))
        };
        wait_for_async("all to be online by the word of each", LIMIT, online)
            .await
            .expect("they watch")
            .expect("a list");
    }
    let looker = Acting::at(&world.socket(others[0]), key("looker", Scope::Read)).await.expect("it listens");
    let mut watch = looker.stream::<WatchNodes>(&NodeFilter::default()).await;
    let (first, _continues) = watch.next::<WatchNodes>().await.expect("it comes first");
    assert!(
        first.current && first.events.len() == 3 && first.events.iter().all(|event| event.node.online),
        "{first:?}"
    );

    // The nodes' agents, whose watches were at the leader, go on elsewhere.
    world.kill(leader);
    let gone = format!("n{}", leader + 1);
    let note = async || world.hub(others[1]).call::<api::SetMetadata>(set(&gone, &[zone("b")], &[])).await;
    wait_for_async("two of three to order", LIMIT, note).await.expect("there is another leader");
    let mut heard = Vec::new();
    loop {
        let reply = news(&mut watch).await;
        heard.extend(told(&reply).into_iter().map(|(name, change)| (name.to_owned(), change)));
        if reply.events.iter().any(|event| event.node.node.metadata.to_string() == "zone=b") {
            break;
        }
    }
    assert!(heard.iter().all(|(_, change)| *change == NodeChange::Changed), "{heard:?}");

    world.part(leader);
    while !heard.contains(&(gone.clone(), NodeChange::Offline)) {
        let reply = news(&mut watch).await;
        heard.extend(told(&reply).into_iter().map(|(name, change)| (name.to_owned(), change)));
    }
    assert_eq!(heard.iter().filter(|(_, change)| *change == NodeChange::Offline).count(), 1, "{heard:?}");
}
