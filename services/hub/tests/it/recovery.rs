//! Backups, and a log that begins anew.

use acp_base::{Code, Failure};
use acp_wire_api::{
    Empty, Scope,
    hub::{self as api, BackupReply, BackupRequest, CreateKeyRequest, RecoverRequest, RestoreRequest},
};

use crate::{
    node::{Node, directory, valid},
    peer::Peer,
};

async fn restore(node: &Node, backup: &BackupReply, plan: bool) -> Result<api::QuorumStatus, Failure> {
    node.call::<api::Restore>(RestoreRequest { backup: backup.clone(), plan }).await
}

#[tokio::test]
async fn a_cluster_is_made_anew_from_its_backup() {
    let (old, new) = (directory(), directory());
    let second = Peer::new("n2", 2);
    let (node, first) = Node::with_members(old.path(), &[&second]).await;
    let told = node.directory().await;
    let backup = node.call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    assert!(backup.authority.contains("PRIVATE KEY") && !format!("{backup:?}").contains("PRIVATE"));
    let refused = restore(&node, &backup, true).await.expect_err("this node is in a cluster");
    assert_eq!(refused.code, Code::FailedPrecondition);
    node.stop().await;

    let node = Node::founded(new.path()).await;
    let said = restore(&node, &backup, true).await.expect("a plan").degraded;
    assert!(said.contains("cluster prod begins anew") && said.contains("2 members"), "{said}");
    assert_eq!(node.status().await.cluster, None, "a plan changes nothing");
    let damaged = BackupReply { index: backup.index + 1, ..backup.clone() };
    assert_eq!(restore(&node, &damaged, false).await.expect_err("it was changed").code, Code::InvalidArgument);
    let status = restore(&node, &backup, false).await.expect("restored");
    assert!(status.epoch.starts_with("2-"), "{status:?}");
    let again = node.directory().await;
    assert_eq!((again.cluster.clone(), again.authority.clone()), (told.cluster.clone(), told.authority));
    let controllers: Vec<bool> = again.nodes.iter().map(|node| node.controller).collect();
    assert_eq!((controllers, again.epoch.clone()), (vec![true, false], status.epoch.clone()));
    node.stop().await;

    let node = Node::start(new.path());
    assert_eq!(node.directory().await, again);
    let (_reply, token) = node.token(1).await;
    node.join(&token, &Peer::new("n3", 3)).await.expect("the old authority signs");
    assert_eq!(node.init(&first).await.expect("the same as before").directory.cluster, told.cluster);
    node.stop().await;
}

#[tokio::test]
async fn a_backup_is_restored_where_it_is_known_whose_node_it_is() {
    let (old, new) = (directory(), directory());
    let (node, _first) = Node::with_members(old.path(), &[]).await;
    let backup = node.call::<api::Backup>(BackupRequest {}).await.expect("a backup");
    node.stop().await;
    let node = Node::start(new.path());
    node.found(&Peer::new("n7", 7)).await.expect("a log");
    let refused = restore(&node, &backup, false).await.expect_err("nobody knows this node");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(!new.path().join("state/hub/authority.key").exists(), "nothing was changed");
    node.stop().await;
}

#[tokio::test]
async fn a_hub_whose_directory_was_lost_begins_with_the_state_that_its_node_has() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let request = CreateKeyRequest { name: valid("ci"), scope: Scope::Read, lifetime_ms: None };
    node.call::<api::CreateKey>(request).await.expect("a key");
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
    assert_eq!(node.applied().await, 1);
    node.stop().await;
}
