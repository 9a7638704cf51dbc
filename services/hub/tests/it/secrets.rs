//! Tokens and keys are told once, kept as digests, and found in no log.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use acp_base::Code;
use acp_core_membership::Digest;
use acp_wire_api::{
    Empty, Scope,
    hub::{self as api, CreateKeyRequest, CreateTokenRequest, KeyRequest, NodeRequest, TokenRequest},
};

use crate::{
    node::{Node, directory, secret, valid},
    peer::Peer,
};

fn key(name: &str) -> CreateKeyRequest {
    CreateKeyRequest { name: valid(name), scope: Scope::Operate, lifetime_ms: Some(60_000) }
}

#[tokio::test]
async fn a_token_is_made_listed_and_revoked() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let request = CreateTokenRequest { lifetime_ms: None, uses: None, no_root_key: true };
    let made = node.call::<api::CreateToken>(request).await.expect("a token");
    let parts: Vec<&str> = made.text.split('.').collect();
    assert_eq!((parts.len(), parts[0], parts[1].len(), parts[2].len()), (3, "acpt", 64, 64));
    let authority = acp_base::from_hex(&node.directory().await.authority).expect("hexadecimal digits");
    assert_eq!(parts[1], Digest::of(&authority).to_string(), "the newcomer knows the authority by it");
    assert_eq!((made.token.uses_left, made.token.no_root_key), (1, true));

    let listed = node.call::<api::ListTokens>(Empty {}).await.expect("a list").tokens;
    assert_eq!(listed.last(), Some(&made.token));
    let revoke = || TokenRequest { uid: made.token.uid };
    node.call::<api::RevokeToken>(revoke()).await.expect("it is there");
    let failure = node.call::<api::RevokeToken>(revoke()).await.expect_err("it is gone");
    assert_eq!(failure.code, Code::NotFound);
    assert!(node.join(parts[2], &Peer::new("n2", 2)).await.is_err(), "it counts no more");
    let long = CreateTokenRequest { lifetime_ms: Some(u64::MAX), uses: None, no_root_key: false };
    let failure = node.call::<api::CreateToken>(long).await.expect_err("it is too long");
    assert!(failure.code == Code::InvalidArgument && failure.message.starts_with("lifetime_ms: "), "{failure}");
    node.stop().await;
}

#[tokio::test]
async fn a_key_is_made_listed_and_revoked() {
    let directory = directory();
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let made = node.call::<api::CreateKey>(key("ci")).await.expect("a key");
    assert!(made.secret.starts_with("acpk.") && made.secret.len() == 69, "{} characters", made.secret.len());
    assert_eq!(made.key.hash, Digest::of(made.secret.as_bytes()).to_string());
    assert_eq!(made.key.expires_ms, Some(made.key.created_ms + 60_000));
    assert_eq!(node.call::<api::ListKeys>(Empty {}).await.expect("a list").keys, [made.key]);
    let failure = node.call::<api::CreateKey>(key("ci")).await.expect_err("it is there");
    assert_eq!(failure.code, Code::AlreadyExists);
    let internal = CreateKeyRequest { scope: Scope::Internal, ..key("wide") };
    assert_eq!(node.call::<api::CreateKey>(internal).await.expect_err("none has it").code, Code::InvalidArgument);
    node.call::<api::RevokeKey>(KeyRequest { name: "ci".to_owned() }).await.expect("it is there");
    let failure = node.call::<api::RevokeKey>(KeyRequest { name: "ci\u{1b}[2J".to_owned() }).await.expect_err("gone");
    assert_eq!((failure.code, failure.message.as_str()), (Code::NotFound, r#"there is no key "ci\u{1b}[2J""#));
    node.stop().await;
}

/// What was logged, as text.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()).expect("text")
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_change_is_a_line_with_who_and_what_and_secrets_are_nowhere() {
    let (directory, log) = (directory(), Log::default());
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
    // With a single dispatcher, what other threads say first is taken for said to nobody from then on.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber.with_writer(move || writer.clone()).finish());

    let second = Peer { root_key_hash: Some(Digest::of(b"root's").to_string()), ..Peer::new("n2", 2) };
    let (node, _first) = Node::with_members(directory.path(), &[]).await;
    let (token, token_secret) = node.token(1).await;
    node.join(&token_secret, &second).await.expect("it joins");
    node.join("0123456789", &Peer::new("n3", 3)).await.expect_err("a wrong token");
    let key = node.call::<api::CreateKey>(key("ci")).await.expect("a key");
    node.call::<api::RevokeKey>(KeyRequest { name: "ci".to_owned() }).await.expect("it is there");
    node.call::<api::RemoveNode>(NodeRequest { name: valid("n2") }).await.expect("it is there");
    let record = node.everything_kept();
    node.stop().await;

    let log = log.text();
    let said = [
        r#"cluster made actor="root""#,
        "uses=1 lifetime_ms=3600000 no_root_key=false",
        r#"node joined actor="newcomer" node=n2"#,
        r#"key made actor="root" key=ci"#,
        r#"key revoked actor="root" key="ci""#,
        r#"node removed actor="root" node=n2"#,
    ];
    for line in said {
        assert_eq!(log.matches(line).count(), 1, "{line:?} in {log}");
    }
    assert!(log.contains(r#"refused caller="newcomer" what="join" node="n3" reason=the token is not known"#), "{log}");
    let debug =
        format!("{token:?} {key:?} {:?}", api::JoinRequest { token: token_secret.clone(), node: second.presents() });
    let secrets = [token_secret, secret(&key.secret), "0123456789".to_owned()];
    for (place, text) in [("the log", &log), ("the record", &record), ("what is shown for debugging", &debug)] {
        assert!(secrets.iter().all(|secret| !text.contains(secret)), "a secret is in {place}: {text}");
    }
}
