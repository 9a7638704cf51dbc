//! What is kept, and what is refused rather than misread.

use std::{fs, os::unix::fs::PermissionsExt as _};

use acp_base::{Change, Code};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::Fatal;
use acp_wire_api::{
    Empty,
    hub::{self as api, CreateTokenRequest, RenewCertificateRequest},
};

use crate::{
    node::{LIMIT, Node, directory},
    peer::{Peer, certificate, request},
};

#[tokio::test]
async fn everything_is_read_back() {
    let directory = directory();
    let second = Peer { root_key_hash: Some("ab".repeat(32)), ..Peer::new("n2", 2) };
    let (node, first) = Node::with_members(directory.path(), &[&second]).await;
    let (_reply, token) = node.token(1).await;
    let (told, tokens) = (node.directory().await, node.call::<api::ListTokens>(Empty {}).await.expect("a list"));
    let state = node.state();
    node.stop().await;
    for file in ["membership.json", "authority.key"] {
        let mode = fs::metadata(state.join(file)).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }

    let node = Node::start(directory.path());
    assert_eq!(node.directory().await, told);
    assert_eq!(node.call::<api::ListTokens>(Empty {}).await.expect("a list"), tokens);
    let renewal = RenewCertificateRequest { signing_request: request(&first.key) };
    let renewed = node.call::<api::RenewCertificate>(renewal).await.expect("the same authority signs");
    assert_eq!(certificate(&renewed.certificate).identity.cluster, told.cluster.uid);
    assert_eq!(node.init(&first).await.expect("the same again").directory, told);
    let joined = node.join(&token, &Peer::new("n3", 3)).await.expect("the token still counts");
    assert_eq!((joined.directory.nodes.len(), joined.directory.revision), (3, told.revision + 1));
    node.stop().await;
}

#[tokio::test]
async fn what_has_ended_is_forgotten_at_the_next_start() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let short = CreateTokenRequest { lifetime_ms: Some(1), uses: None, no_root_key: false };
    let token = node.call::<api::CreateToken>(short).await.expect("a token").token.uid.to_string();
    let path = node.state().join("membership.json");
    assert!(fs::read_to_string(&path).expect("a record").contains(&token));
    node.stop().await;
    let node = Node::start(directory.path());
    let forgotten = wait_for_async("the token to be forgotten", LIMIT, async || {
        seen(fs::read_to_string(&path).expect("a record"), |record| !record.contains(&token))
    });
    forgotten.await.expect("it has ended");
    assert_eq!(node.call::<api::ListTokens>(Empty {}).await.expect("a list").tokens.len(), 1, "the other one stays");
    node.stop().await;
}

/// Starts on a directory that something was done to; answers what the hub says of it, for the operator.
async fn refused(damage: impl FnOnce(&std::path::Path)) -> String {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let state = node.state();
    node.stop().await;
    damage(&state);
    let contents = || -> Vec<_> {
        let entries = fs::read_dir(&state).expect("readable").map(|entry| entry.expect("readable").path());
        let mut files: Vec<_> = entries.map(|path| (fs::read(&path).expect("readable"), path)).collect();
        files.sort();
        files
    };
    let before = contents();
    let fatal = Node::start(directory.path()).failure().await;
    assert!(matches!(fatal, Fatal::Config(_)), "{fatal}");
    assert_eq!(contents(), before, "what is refused is left alone");
    fatal.to_string()
}

fn edit(state: &std::path::Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = state.join("membership.json");
    let mut record = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    change(&mut record);
    fs::write(path, serde_json::to_vec(&record).expect("JSON")).expect("written");
}

#[tokio::test]
async fn a_record_that_is_not_understood_is_left_alone() {
    let said = refused(|state| edit(state, |record| record["version"] = 2.into())).await;
    assert!(said.contains("membership.json has layout 2, this version of ACP knows up to 1"), "{said}");
    let said = refused(|state| edit(state, |record| record["state"]["revision"] = "many".into())).await;
    assert!(said.contains("membership.json is damaged"), "{said}");
    let said = refused(|state| edit(state, |record| record["state"]["members"] = serde_json::json!({}))).await;
    assert!(said.contains("membership.json is damaged: restore it from a backup: no member is a controller"), "{said}");
}

#[tokio::test]
async fn without_its_authority_it_does_not_begin_and_makes_no_other() {
    let remove = |file: &'static str| move |state: &std::path::Path| fs::remove_file(state.join(file)).expect("there");
    for file in ["authority.key", "authority.crt"] {
        let said = refused(remove(file)).await;
        assert!(said.contains("restore"), "{said}");
    }
    let said = refused(|state| {
        fs::set_permissions(state.join("authority.key"), fs::Permissions::from_mode(0o644)).expect("changed");
    });
    assert!(said.await.contains("can be read by others"));
    let said = refused(|state| edit(state, |record| record["state"]["founded"]["authority"] = "30".into())).await;
    assert!(said.contains("another one than the cluster's: restore both"), "{said}");
}

#[tokio::test]
async fn an_authority_whose_record_is_missing_is_not_written_over() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let state = node.state();
    node.stop().await;
    fs::remove_file(state.join("membership.json")).expect("there");
    let key = fs::read(state.join("authority.key")).expect("there");
    let node = Node::start(directory.path());
    assert_eq!(node.status().await.cluster, None);
    let failure = node.init(&first).await.expect_err("somebody else's authority is there");
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert!(failure.message.contains("whose record is missing: restore"), "{failure}");
    assert_eq!(fs::read(state.join("authority.key")).expect("there"), key);
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_done() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let (told, (_reply, token)) = (node.directory().await, node.token(1).await);
    // Whatever is in its way there, the record cannot be written.
    let aside = node.state().join("membership.new");
    fs::create_dir(&aside).expect("made");
    let failure = node.join(&token, &Peer::new("n2", 2)).await.expect_err("it cannot be kept");
    assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::None));
    assert!(failure.message.contains("cannot write"), "{failure}");
    assert_eq!(node.directory().await, told);
    assert!(node.health().contains("cannot write"), "{}", node.health());
    fs::remove_dir(&aside).expect("removed");
    node.join(&token, &Peer::new("n2", 2)).await.expect("the token was not used up");
    assert_eq!(node.health(), "");
    node.stop().await;
}
