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
    for file in ["hub.json", "authority.key", "checkpoint.key"] {
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
    node.call::<api::CreateToken>(short).await.expect("a token");
    let before = node.applied().await;
    node.stop().await;
    let node = Node::start(directory.path());
    let forgotten = wait_for_async("the entry that forgets the token", LIMIT, async || {
        seen(node.applied().await, |applied| *applied > before)
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
        // The log is opened before what lies beside it is compared with it.
        let entries = entries.filter(|path| !path.to_string_lossy().contains("raft"));
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

#[tokio::test]
async fn a_record_that_is_not_understood_is_left_alone() {
    let write =
        |text: &'static str| move |state: &std::path::Path| fs::write(state.join("hub.json"), text).expect("written");
    let said = refused(write(r#"{"version":2}"#)).await;
    assert!(said.contains("hub.json has layout 2, this version of ACP knows up to 1"), "{said}");
    let said = refused(write(r#"{"node":7}"#)).await;
    assert!(said.contains("hub.json is damaged"), "{said}");
    let said = refused(|state| fs::write(state.join("checkpoint.key"), "nothing").expect("written")).await;
    assert!(said.contains("checkpoint.key is damaged"), "{said}");
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
    let said = refused(|state| {
        let other = tempfile::tempdir().expect("a directory");
        let cluster = acp_base::Uid::from_u128(9);
        acp_io_pki::Authority::ensure(other.path(), cluster, rustls::pki_types::UnixTime::now()).expect("made");
        for file in ["authority.key", "authority.crt"] {
            fs::copy(other.path().join(file), state.join(file)).expect("copied");
        }
    });
    assert!(said.await.contains("authority.crt is damaged"), "of another cluster");
}

#[tokio::test]
async fn an_authority_whose_log_is_missing_is_not_written_over() {
    let directory = directory();
    let (node, first) = Node::with_members(directory.path(), &[]).await;
    let state = node.state();
    node.stop().await;
    for file in fs::read_dir(&state).expect("readable").map(|file| file.expect("readable").path()) {
        if !file.to_string_lossy().contains("authority") {
            fs::remove_file(file).expect("there");
        }
    }
    let key = fs::read(state.join("authority.key")).expect("there");
    let node = Node::founded(directory.path()).await;
    assert_eq!(node.status().await.cluster, None);
    let failure = node.init(&first).await.expect_err("somebody else's authority is there");
    assert_eq!(failure.code, Code::FailedPrecondition);
    assert!(failure.message.contains("whose log is missing: restore"), "{failure}");
    assert_eq!(fs::read(state.join("authority.key")).expect("there"), key);
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_done() {
    let directory = directory();
    let node = Node::start(directory.path());
    // Whatever is in its way there, the record cannot be written.
    let aside = node.state().join("hub.new");
    node.status().await;
    fs::create_dir(&aside).expect("made");
    let first = Peer::new("n1", 1);
    let failure = node.found(&first).await.expect_err("it cannot be kept");
    assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::None));
    assert!(failure.message.contains("cannot write"), "{failure}");
    fs::remove_dir(&aside).expect("removed");
    let founded = node.found(&first).await.expect("it can be kept");
    assert_eq!(node.found(&first).await.expect("the same again"), founded);
    node.stop().await;
}
