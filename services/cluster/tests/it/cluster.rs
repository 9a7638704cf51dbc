//! Two nodes: entering a cluster and leaving it, far hubs, and sources that lie.

use std::{collections::BTreeMap, net::SocketAddr};

use acp_base::{Name, Uid, to_base64};
use acp_cluster::Config;
use acp_core_membership::{Command, Digest, NewNode, NewToken};
use acp_dev_nodes::{HubStandIn, Nodes};
use acp_dev_wait::wait_for_async;
use acp_io_client::Replies;
use acp_wire_api::{
    Empty,
    cluster::{self as api, EnterRequest, Watch, WatchChange, WatchRequest},
    hub::FoundRequest,
};
use acp_wire_model::{Kind, entry::Action};
use serde_json::json;

use crate::node::{LIMIT, Node, all, next, system, valid};

const FAR: Uid = Uid::from_u128(0x0200);

/// A cluster on `n2`, and `n1` with a life of its own.
struct Pair {
    nodes: Nodes,
    far: HubStandIn,
    near: Node,
    _folder: tempfile::TempDir,
}

fn member(uid: Uid, name: &str, port: u16) -> NewNode {
    serde_json::from_value(json!({
        "uid": uid,
        "name": name,
        "address": SocketAddr::from(([192, 0, 2, 1], port)),
        "key": Digest::of(name.as_bytes()),
        "root_key": null,
        "systems": [],
    }))
    .expect("a node")
}

fn command(hub: &HubStandIn, command: &Command) {
    let command = serde_json::to_value(command).expect("JSON");
    let outcome = hub.order("test", "", Action::Membership { command }).expect("ordered");
    assert_eq!(outcome.refused, None);
}

impl Pair {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let far = HubStandIn::open(folder.path());
        let mut nodes = Nodes::start();
        nodes.add("n2", "hub", HubStandIn::interfaces(), far.router());
        let near = Node::start_as("n1", &nodes.run("n1"), Config::default());
        far.begin(FoundRequest { node: FAR, name: valid("n2"), image: None }).expect("founded");
        let cluster = far.state().identity().expect("founded").cluster;
        let node = member(FAR, "n2", 1);
        command(&far, &Command::Init { cluster, name: valid("prod"), authority: "00".into(), node });
        let key = far.controller(FAR, &valid("n2")).key;
        command(&far, &Command::SetController { node: FAR, checkpoint_key: Some(key) });
        let token = NewToken {
            uid: Uid::from_u128(7),
            digest: Digest::of(b"token"),
            lifetime_ms: 60_000,
            uses: 3,
            no_root_key: true,
        };
        command(&far, &Command::CreateToken(token));
        let uid = near.status().await.node_uid;
        command(&far, &Command::Join { token: Digest::of(b"token"), node: member(uid, "n1", 2) });
        Self { nodes, far, near, _folder: folder }
    }

    async fn enter_request(&self) -> EnterRequest {
        let state = self.far.state();
        EnterRequest {
            cluster: state.identity().expect("founded").cluster,
            epoch: state.epoch().expect("founded").to_string(),
            node: self.near.status().await.node_uid,
            controllers: vec![self.far.controller(FAR, &valid("n2"))],
        }
    }

    async fn enter(&self) -> Result<api::EnterReply, acp_base::Failure> {
        let request = self.enter_request().await;
        self.near.service().call::<api::Enter>(request).await
    }

    /// Waits until the near replica has everything that the far hub has.
    async fn caught_up(&self) {
        let look = async || {
            let (there, here) = (self.far.state().hash().to_string(), self.near.status().await);
            if there == here.hash { Ok(()) } else { Err(format!("{here:?}")) }
        };
        wait_for_async("the replica", LIMIT, look).await.expect("it catches up");
    }
}

/// A watch that knows what is there, and panics if something of this node vanishes.
struct Eye {
    replies: Replies<Watch>,
    known: BTreeMap<Uid, String>,
}

impl Eye {
    async fn open(node: &Node) -> Self {
        let request = WatchRequest { kinds: vec![Kind::System], cursor: None, without_stats: true, here: None };
        let replies = node.service().stream::<Watch>(request).await.expect("open");
        let mut eye = Self { replies, known: BTreeMap::new() };
        eye.see_to_synced().await;
        eye
    }

    /// Looks until the state is whole; answers what is there.
    async fn see_to_synced(&mut self) -> BTreeMap<Uid, String> {
        loop {
            let reply = next(&mut self.replies).await.expect("goes on").expect("no error");
            for event in reply.events {
                match (event.change, event.object) {
                    (WatchChange::Put, Some(object)) => drop(self.known.insert(object.uid, object.name)),
                    (WatchChange::Delete, Some(object)) => panic!("{} has vanished", object.name),
                    (WatchChange::Resync, _) => self.known.clear(),
                    (WatchChange::Synced, _) => return self.known.clone(),
                    (change, None) => panic!("{change:?} without an object"),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_node_enters_a_cluster_with_its_objects_and_leaves_with_them() {
    let pair = Pair::start().await;
    let own = pair.near.create(Kind::System, "own", on_n1()).await.expect("free").uid;
    let clash = pair.near.create(Kind::System, "db", on_n1()).await.expect("free").uid;
    let theirs = Uid::from_u128(0x300);
    let mut spec = system();
    spec["node"] = json!("n2");
    let action = Action::Create { kind: Kind::System, name: valid("db"), uid: theirs, spec };
    pair.far.order("test", "", action).expect("ordered");
    let mut eye = Eye::open(&pair.near).await;
    let alone = pair.near.status().await;

    let entered = pair.enter().await.expect("the far hub answers");
    assert_eq!((entered.taken, entered.orphans.len()), (1, 1), "{entered:?}");
    assert!(entered.orphans[0].starts_with("system \"db\": ") && entered.orphans[0].contains("exists"), "{entered:?}");
    let seen = eye.see_to_synced().await;
    assert_eq!(seen, BTreeMap::from([(own, "own".to_owned()), (theirs, "db".to_owned())]));
    assert!(!seen.contains_key(&clash));
    let status = pair.near.status().await;
    assert_eq!((status.node_uid, status.node.as_str()), (alone.node_uid, "n1"));
    assert_eq!(status.cluster, pair.far.state().identity().expect("founded").cluster);
    assert!(pair.near.hub().state().identity().is_none(), "the own hub has forgotten its log");
    let again = pair.enter().await.expect("the same again");
    assert_eq!((again.taken, again.orphans.len()), (1, 0));

    let written = pair.near.create(Kind::System, "more", on_n1()).await.expect("ordered far away");
    assert_eq!(pair.far.state().get(written.uid).map(|record| record.name.to_string()), Some("more".into()));
    pair.caught_up().await;
    assert_eq!(pair.near.status().await.source, "hub@n2");

    let mut eye = Eye::open(&pair.near).await;
    let parted = pair.near.service().call::<api::Part>(Empty {}).await.expect("the own hub answers");
    assert_eq!(parted.taken, 2, "{parted:?}");
    let seen = eye.see_to_synced().await;
    assert_eq!(seen, BTreeMap::from([(own, "own".to_owned()), (written.uid, "more".to_owned())]));
    let status = pair.near.status().await;
    assert_eq!(status.node_uid, alone.node_uid);
    assert_ne!(status.source, "hub@n2");
    assert!(status.cluster != alone.cluster && status.cluster != pair.far.state().identity().expect("founded").cluster);
    pair.near.create(Kind::System, "db", on_n1()).await.expect("its own names again");
    pair.near.stop().await;
    let near = Node::start_as("n1", &pair.nodes.run("n1"), Config::default());
    assert_eq!(near.list(all(Kind::System)).await.expect("listed").len(), 3, "the next life goes on alone");
    near.stop().await;
}

/// Waits until the near replica says that its node was taken out.
async fn taken_out(near: &Node) {
    let look = async || match near.status().await {
        status if status.degraded.contains("taken out of its cluster") => Ok(()),
        status => Err(format!("{status:?}")),
    };
    wait_for_async("the departure", LIMIT, look).await.expect("it is said");
}

fn on_n1() -> serde_json::Value {
    let mut spec = system();
    spec["node"] = json!("n1");
    spec
}

#[tokio::test]
async fn a_node_that_hears_of_its_own_departure_tells_nobody_that_its_objects_have_gone() {
    let pair = Pair::start().await;
    let own = pair.near.create(Kind::System, "own", on_n1()).await.expect("free").uid;
    pair.enter().await.expect("the far hub answers");
    pair.caught_up().await;
    let node = pair.near.status().await.node_uid;
    let mut eye = Eye::open(&pair.near).await;
    command(&pair.far, &Command::Leave { node });
    taken_out(&pair.near).await;
    assert_eq!(pair.near.get(Kind::System, "own").await.expect("it is there still").uid, own);
    let failure = pair.near.create(Kind::System, "lost", on_n1()).await.expect_err("nothing is declared in between");
    assert_eq!(failure.changed, acp_base::Change::None, "{failure}");
    let parted = pair.near.service().call::<api::Part>(Empty {}).await.expect("the own hub answers");
    assert_eq!(parted.taken, 1, "{parted:?}");
    // The eye panics at an object that vanishes: between the departure and the resync there was none.
    assert_eq!(eye.see_to_synced().await, BTreeMap::from([(own, "own".to_owned())]));
    pair.near.create(Kind::System, "more", on_n1()).await.expect("it goes on alone");
    pair.near.stop().await;
}

#[tokio::test]
async fn a_node_that_was_removed_and_is_taken_back_declares_again_what_had_gone_with_it() {
    let pair = Pair::start().await;
    let own = pair.near.create(Kind::System, "own", on_n1()).await.expect("free").uid;
    pair.enter().await.expect("the far hub answers");
    let deleted = pair.near.create(Kind::System, "deleted", on_n1()).await.expect("ordered far away").uid;
    pair.caught_up().await;
    let node = pair.near.status().await.node_uid;
    let mut eye = Eye::open(&pair.near).await;
    let rejoin = || Command::Rejoin { token: Digest::of(b"token"), node: member(node, "n1", 2) };

    command(&pair.far, &Command::Remove { name: valid("n1") });
    taken_out(&pair.near).await;
    assert!(pair.far.state().get(own).is_none(), "the cluster has it no more");
    command(&pair.far, &rejoin());
    let entered = pair.enter().await.expect("in the same epoch");
    assert_eq!((entered.taken, entered.orphans.len()), (2, 0), "{entered:?}");
    assert_eq!(eye.see_to_synced().await.len(), 2);
    assert!(pair.far.state().get(own).is_some(), "it is declared again");
    pair.caught_up().await;

    // Away while it was removed, taken back and its entries were compacted: all that comes is a snapshot without its objects.
    pair.near.stop().await;
    let delete = Action::Delete { kind: Kind::System, uid: deleted };
    assert_eq!(pair.far.order("test", "", delete).expect("ordered").refused, None);
    command(&pair.far, &Command::Leave { node });
    command(&pair.far, &rejoin());
    pair.far.compact();
    let near = Node::start_as("n1", &pair.nodes.run("n1"), Config::default());
    let pair = Pair { near, ..pair };
    taken_out(&pair.near).await;
    assert_eq!(pair.near.get(Kind::System, "own").await.expect("it is there still").uid, own);
    let entered = pair.enter().await.expect("in the same epoch");
    assert_eq!((entered.taken, entered.orphans.len()), (1, 1), "what was deleted stays deleted: {entered:?}");
    pair.caught_up().await;
    assert_eq!(pair.near.get(Kind::System, "own").await.expect("it is there").uid, own);
    pair.near.stop().await;
}

/// Waits until the near replica follows this source.
async fn follows(near: &Node, source: &str) {
    let look = async || match near.status().await {
        status if status.source == source => Ok(()),
        status => Err(format!("{status:?}")),
    };
    wait_for_async(source, LIMIT, look).await.expect("it is followed");
}

#[tokio::test]
async fn a_controller_that_was_dismissed_while_it_heard_nobody_leaves_its_own_hub_for_one_with_a_quorum() {
    let pair = Pair::start().await;
    pair.enter().await.expect("the far hub answers");
    let node = pair.near.status().await.node_uid;
    let key = pair.near.hub().controller(node, &valid("n1")).key;
    command(&pair.far, &Command::SetController { node, checkpoint_key: Some(key) });
    pair.near.hub().begin_with(&pair.far.state());
    follows(&pair.near, "hub").await;
    pair.caught_up().await;
    // Its own hub hears nothing of this.
    pair.near.hub().degrade("the leader does not hear a majority of the voters");
    command(&pair.far, &Command::SetController { node, checkpoint_key: None });
    pair.caught_up().await;
    let status = pair.near.status().await;
    assert_eq!((status.source.as_str(), status.degraded.as_str()), ("hub@n2", ""));
    pair.near.create(Kind::System, "a", on_n1()).await.expect("ordered far away");
    pair.near.stop().await;
}

#[tokio::test]
async fn an_own_hub_without_a_quorum_is_followed_while_nobody_has_one() {
    let pair = Pair::start().await;
    pair.enter().await.expect("the far hub answers");
    let node = pair.near.status().await.node_uid;
    let key = pair.near.hub().controller(node, &valid("n1")).key;
    command(&pair.far, &Command::SetController { node, checkpoint_key: Some(key) });
    pair.near.hub().begin_with(&pair.far.state());
    follows(&pair.near, "hub").await;
    pair.far.degrade("far away");
    let (asked, mut seen) = tokio::sync::watch::channel(0);
    pair.far.tamper(move |reply| {
        asked.send_modify(|count| *count += 1);
        Some(reply)
    });
    pair.near.hub().degrade("here");
    let looked = tokio::time::timeout(LIMIT, seen.wait_for(|count| *count >= 2)).await;
    assert!(*looked.expect("it looks for another one").expect("the hub lives") >= 2);
    assert_eq!(pair.near.status().await.source, "hub");
    pair.far.degrade("");
    follows(&pair.near, "hub@n2").await;
    pair.near.hub().degrade("");
    follows(&pair.near, "hub").await;
    pair.near.stop().await;
}

#[tokio::test]
async fn what_was_begun_goes_on_in_the_next_life() {
    let pair = Pair::start().await;
    let mut spec = system();
    spec["node"] = json!("n1");
    let own = pair.near.create(Kind::System, "own", spec).await.expect("free").uid;
    // The far hub's words do not prove: nothing is entered, and nothing is given up.
    pair.far.tamper(|mut reply| {
        if let Some(checkpoint) = &mut reply.checkpoint {
            checkpoint.signature = "00".repeat(64);
        }
        Some(reply)
    });
    let failure = pair.enter().await.expect_err("forged");
    assert!(failure.message.contains("the signature is not that of controller"), "{failure}");
    let name: Name = valid("n1");
    assert_eq!(pair.near.get(Kind::System, "own").await.expect("as before").uid, own);
    pair.near.stop().await;
    pair.far.tamper(Some);
    let near = Node::start_as(name.as_str(), &pair.nodes.run("n1"), Config::default());
    let there = pair.far.state().identity().expect("founded").cluster;
    let entered = async || match near.status().await {
        status if status.cluster == there => Ok(()),
        status => Err(status.degraded),
    };
    wait_for_async("the cluster", LIMIT, entered).await.expect("it goes on by itself");
    assert_eq!(near.get(Kind::System, "own").await.expect("taken along").uid, own);
    let retired = async || match near.hub().state().identity() {
        None => Ok(()),
        Some(_) => Err("it has its log"),
    };
    wait_for_async("the own hub", LIMIT, retired).await.expect("it forgets");
    near.stop().await;
}

#[tokio::test]
async fn a_far_hub_that_lies_is_left_and_nothing_of_it_kept() {
    let pair = Pair::start().await;
    pair.enter().await.expect("the far hub answers");
    pair.caught_up().await;
    let before = pair.near.status().await;
    pair.far.tamper(|mut reply| {
        for entry in &mut reply.entries {
            *entry = to_base64(b"forged");
        }
        Some(reply)
    });
    let spec = json!({"node": "n2", "cpus": 1, "memory_bytes": 64 << 20});
    let action = Action::Create { kind: Kind::System, name: valid("x"), uid: Uid::from_u128(0x400), spec };
    pair.far.order("test", "", action).expect("ordered");
    let refused = async || {
        let status = pair.near.status().await;
        let is_said = status.degraded.contains("do not chain to its checkpoint") || status.source.is_empty();
        if is_said { Ok(status) } else { Err(status.degraded) }
    };
    let status = wait_for_async("the refusal", LIMIT, refused).await.expect("it is said");
    assert_eq!((status.index, status.hash), (before.index, before.hash));
    pair.near.stop().await;
}
