//! Backups, and a log that begins anew.

use std::path::Path;

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::{Context, Router};
use acp_wire_api::{
    Empty, Method, Scope,
    agent::{self, GetStatus},
    hub::{self as api, BackupReply, BackupRequest, CreateKeyRequest, RecoverRequest, RestoreRequest},
};
use tokio::sync::watch;

use crate::{
    node::{LIMIT, Node, directory, valid},
    peer::Peer,
    world::agent_status,
};

async fn restore(node: &Node, backup: &BackupReply, plan: bool) -> Result<api::QuorumStatus, Failure> {
    node.call::<api::Restore>(RestoreRequest { backup: backup.clone(), plan }).await
}

async fn refused(node: &Node, backup: &BackupReply) -> Failure {
    restore(node, backup, false).await.expect_err("it is refused")
}

async fn key(node: &Node, name: &str) {
    let request = CreateKeyRequest { name: valid(name), scope: Scope::Read, lifetime_ms: None };
    node.call::<api::CreateKey>(request).await.expect("a key");
}

/// Stands in for the node's agent, which says in which cluster the node is.
struct Agent {
    context: Context,
    cluster: watch::Sender<Option<api::Cluster>>,
}

impl Agent {
    fn start(directory: &Path, cluster: Option<api::Cluster>) -> Self {
        let mut interface = agent::interface();
        interface.methods.retain(|method| method.name == GetStatus::NAME);
        let context = Context::for_test("agent", directory, vec![interface]);
        let (cluster, told) = watch::channel(cluster);
        let mut router = Router::new();
        router.once::<GetStatus, _, _>(move |_call| {
            let cluster = told.borrow().clone();
            std::future::ready(Ok(agent_status(Uid::from_u128(1), "n1", cluster)))
        });
        context.serve(router).expect("it serves");
        context.ready();
        Self { context, cluster }
    }

    async fn stop(self) {
        self.context.drain.cancel();
        assert!(self.context.tasks.join(LIMIT).await, "tasks are left");
    }
}

#[tokio::test]
async fn a_cluster_is_made_anew_from_its_backup() {
    let (old, new) = (directory(), directory());
    let second = Peer::new("n2", 2);
    let (node, first) = Node::with_members(old.path(), &[&second]).await;
    let told = node.directory().await;
    let backup = node.call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    assert!(backup.authority.contains("PRIVATE KEY") && !format!("{backup:?}").contains("PRIVATE"));
    assert_eq!(refused(&node, &backup).await.code, Code::Unavailable, "whether it is in a cluster is not known");
    node.stop().await;

    let (node, agent) = (Node::founded(new.path()).await, Agent::start(new.path(), Some(told.cluster.clone())));
    let member = refused(&node, &backup).await;
    assert!(member.code == Code::FailedPrecondition && member.message.contains("has to leave first"), "{member}");
    agent.cluster.send_replace(None);
    let said = restore(&node, &backup, true).await.expect("a plan").degraded;
    assert!(said.contains("cluster prod begins anew") && said.contains("2 members"), "{said}");
    assert_eq!(node.status().await.cluster, None, "a plan changes nothing");
    let damaged = BackupReply { index: backup.index + 1, ..backup.clone() };
    assert_eq!(refused(&node, &damaged).await.code, Code::InvalidArgument);
    let status = restore(&node, &backup, false).await.expect("restored");
    assert!(status.epoch.starts_with("2-"), "{status:?}");
    let again = node.directory().await;
    assert_eq!((again.cluster.clone(), again.authority.clone()), (told.cluster.clone(), told.authority));
    let controllers: Vec<bool> = again.nodes.iter().map(|node| node.controller).collect();
    assert_eq!((controllers, again.epoch.clone()), (vec![true, false], status.epoch.clone()));
    let here = refused(&node, &backup).await;
    assert!(here.message.contains("acpctl cluster init prod makes this node a member"), "{here}");
    node.stop().await;

    let node = Node::start(new.path());
    assert_eq!(node.directory().await, again);
    let (_reply, token) = node.token(1).await;
    node.join(&token, &Peer::new("n3", 3)).await.expect("the old authority signs");
    assert_eq!(node.init(&first).await.expect("the same as before").directory.cluster, told.cluster);
    node.stop().await;
    agent.stop().await;
}

#[tokio::test]
async fn who_orders_alone_goes_back_to_a_backup_and_each_time_into_a_later_epoch() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let cluster = node.directory().await.cluster;
    let agent = Agent::start(directory.path(), Some(cluster));
    key(&node, "before").await;
    let backup = node.call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    for epoch in ["2-", "3-"] {
        key(&node, "after").await;
        let status = restore(&node, &backup, false).await.expect("restored");
        assert!(status.epoch.starts_with(epoch), "above every epoch that this node has seen: {status:?}");
        let names: Vec<String> = node.directory().await.keys.into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["before"]);
    }
    let other = BackupReply { cluster: Uid::from_u128(7), ..backup };
    let refused = refused(&node, &other).await;
    assert!(refused.message.contains("the backup is not of it"), "{refused}");
    node.stop().await;
    agent.stop().await;
}

#[tokio::test]
async fn the_log_of_a_node_alone_is_restored_on_that_node() {
    let directory = directory();
    let (node, agent) = (Node::founded(directory.path()).await, Agent::start(directory.path(), None));
    let backup = node.call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    assert_eq!((backup.name.as_str(), backup.authority.as_str(), backup.index), ("", "", 2));
    let said = restore(&node, &backup, true).await.expect("a plan").degraded;
    assert_eq!(said, "the log of this node alone begins anew at entry 2 with 1 objects");
    let status = restore(&node, &backup, false).await.expect("restored");
    assert!(status.epoch.starts_with("2-") && node.applied().await == 3, "{status:?}");
    node.stop().await;
    agent.stop().await;
}

#[tokio::test]
async fn a_backup_is_restored_where_it_is_known_whose_node_it_is() {
    let (old, new) = (directory(), directory());
    let (node, _first) = Node::with_members(old.path(), &[]).await;
    let backup = node.call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    node.stop().await;
    let (node, agent) = (Node::start(new.path()), Agent::start(new.path(), None));
    node.found(&Peer::new("n7", 7)).await.expect("a log");
    let unknown = refused(&node, &backup).await;
    assert!(unknown.code == Code::FailedPrecondition && unknown.message.contains("does not know node"), "{unknown}");
    assert!(!new.path().join("state/hub/authority.key").exists(), "nothing was changed");
    node.stop().await;
    agent.stop().await;
}

#[tokio::test]
async fn a_hub_whose_directory_was_lost_begins_with_the_state_that_its_node_has() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    key(&node, "ci").await;
    let (told, image) = (node.directory().await, node.call::<api::Backup>(BackupRequest {}).await.expect("one").image);
    let state = node.state();
    node.stop().await;
    let lost = |keep: &str| {
        for file in std::fs::read_dir(&state).expect("readable").map(|file| file.expect("readable").path()) {
            if !file.to_string_lossy().contains(keep) {
                std::fs::remove_file(file).expect("there");
            }
        }
    };
    lost("authority");
    let request = api::FoundRequest { node: first.uid, name: valid("n1"), image: Some(image.clone()) };
    let node = Node::start(directory.path());
    let founded = node.call::<api::Found>(request.clone()).await.expect("a log");
    assert!(founded.epoch.starts_with("2-"), "what others may have of the old one is not known: {founded:?}");
    assert_eq!(node.call::<api::Found>(request.clone()).await.expect("the same again"), founded);
    assert_eq!(node.directory().await.keys, told.keys);
    node.stop().await;

    lost("nothing");
    let node = Node::start(directory.path());
    let refused = node.call::<api::Found>(request).await.expect_err("nobody can sign");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(refused.message.contains("restore both from a backup"), "{refused}");
    node.stop().await;
}

#[tokio::test]
async fn a_hub_that_has_retired_keeps_no_key_and_founds_anew() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let refused = node.call::<api::Recover>(RecoverRequest { plan: false }).await.expect_err("there is a quorum");
    assert_eq!(refused.code, Code::FailedPrecondition);
    node.call::<api::Retire>(Empty {}).await.expect("retired");
    assert!(!node.state().join("authority.key").exists());
    assert_eq!((node.status().await.cluster, node.applied().await), (None, 0));
    let again = node.found(&first).await.expect("a log");
    assert!(again.epoch.starts_with("1-"));
    assert_eq!(node.applied().await, 2, "its beginning and its level");
    node.stop().await;
}
