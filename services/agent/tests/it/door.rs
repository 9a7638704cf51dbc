//! Who does not come in, and that they keep nobody out.

use std::{net::SocketAddr, time::Duration};

use acp_base::{Code, Uid};
use acp_dev_wait::wait_for_async;
use acp_io_daemon::{Tasks, new_uid};
use acp_io_link::{Class, Dialer, Link, LinkError, Opening, Unwelcome};
use acp_io_pki::{Authority, Held, NodeKey, Trust, Validity};
use acp_wire_api::Scope;
use rustls::pki_types::UnixTime;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::world::{Host, LIMIT, cluster};

/// Somebody with a certificate of this authority.
struct Somebody {
    dialer: Dialer,
    tasks: Tasks,
}

impl Somebody {
    /// Trusts the cluster of `host`, and shows what `authority` has signed.
    fn new(host: &Host, authority: &Authority, cluster: Uid, node: Uid, validity: Validity) -> Self {
        let ours = host.hub.authority();
        let key = NodeKey::generate().expect("a key");
        let certificate = authority.sign(&key.request().expect("made"), node, validity).expect("signed");
        let held = Held::new(&key, certificate, authority.certificate()).expect("its own");
        let trust = Trust::new(cluster, ours.certificate().clone()).expect("an authority");
        Self { dialer: Dialer::new(trust, held), tasks: Tasks::default() }
    }

    async fn link(&self, host: &Host, class: Class) -> Result<Link, LinkError> {
        let stream = self.dialer.dial(door(host), host.uid().await, class).await?;
        Link::over(stream, &self.tasks).await
    }
}

fn door(host: &Host) -> SocketAddr {
    SocketAddr::new(host.ip, 9932)
}

fn now() -> Validity {
    Validity::of_node(UnixTime::now())
}

fn member(host: &Host) -> Somebody {
    Somebody::new(host, &host.hub.authority(), host.hub.directory().cluster.uid, new_uid(), now())
}

fn unwelcome(result: Result<Link, LinkError>) -> Unwelcome {
    match result {
        Err(LinkError::Unwelcome(unwelcome)) => unwelcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn certificates_that_do_not_count_are_refused_and_their_owners_told_why() {
    let (n1, _others) = cluster(&[]).await;
    let (ours, cluster) = (n1.hub.authority(), n1.hub.directory().cluster.uid);
    let ago = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() - 100_000));
    let over = Validity { now: ago, life: Duration::from_secs(10) };
    let expired = Somebody::new(&n1, &ours, cluster, new_uid(), over);
    assert_eq!(unwelcome(expired.link(&n1, Class::Calls).await), Unwelcome::Expired);
    let ahead = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + 100_000));
    let early = Somebody::new(&n1, &ours, cluster, new_uid(), Validity::of_node(ahead));
    assert_eq!(unwelcome(early.link(&n1, Class::Calls).await), Unwelcome::Expired);

    let directory = tempfile::tempdir().expect("a directory");
    let theirs = Authority::ensure(directory.path(), cluster, UnixTime::now()).expect("another authority of that name");
    let stranger = Somebody::new(&n1, &theirs, cluster, new_uid(), now());
    assert_eq!(unwelcome(stranger.link(&n1, Class::Calls).await), Unwelcome::Stranger);

    let gone = new_uid();
    let removed = Somebody::new(&n1, &ours, cluster, gone, now());
    let link = removed.link(&n1, Class::Calls).await.expect("a member yet");
    n1.hub.remove(gone);
    tokio::time::timeout(LIMIT, link.ended()).await.expect("its link is cut at once");
    for class in [Class::Calls, Class::Control, Class::Renewal] {
        assert_eq!(unwelcome(removed.link(&n1, class).await), Unwelcome::Removed);
    }
}

#[tokio::test]
async fn each_class_is_for_what_it_is_for() {
    let (n1, _others) = cluster(&[]).await;
    let opening = |service: &str, context| Opening { service: service.to_owned(), instance: None, context };
    let somebody = member(&n1);
    let denied = |result: Result<_, LinkError>| match result {
        Err(LinkError::Denied(failure)) => failure.code,
        other => panic!("{other:?}"),
    };
    for class in [Class::Control, Class::Renewal] {
        let link = somebody.link(&n1, class).await.expect("in");
        assert_eq!(denied(link.open(&opening("network", json!(null)), LIMIT).await), Code::InvalidArgument);
        assert_eq!(denied(link.open(&opening("network", json!({})), LIMIT).await), Code::PermissionDenied);
        link.open(&opening("hub", json!({})), LIMIT).await.expect("the hub");
    }
    let link = somebody.link(&n1, Class::Calls).await.expect("in");
    assert_eq!(
        denied(link.open(&opening("network", json!({ "newcomer": true })), LIMIT).await),
        Code::PermissionDenied
    );
    assert_eq!(denied(link.open(&opening("network", json!({ "relayed": true })), LIMIT).await), Code::PermissionDenied);
    assert_eq!(denied(link.open(&opening("network", json!({ "root": true })), LIMIT).await), Code::InvalidArgument);
    let elsewhere = json!({ "node": new_uid() });
    assert_eq!(denied(link.open(&opening("network", elsewhere), LIMIT).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn thousands_who_only_knock_keep_nobody_out() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let mut silent = Vec::new();
    for number in 0..2_000_u32 {
        let socket = TcpSocket::new_v4().expect("a socket");
        let [.., third, fourth] = (number / 20).to_be_bytes();
        socket.bind(([127, 200, third, fourth + 1], 0).into()).expect("bound");
        silent.push(socket.connect(door(n2)).await.expect("connected"));
    }
    // A link that stands, and one that is new.
    n1.delete(n2, &key, "a").await.expect("the old link serves");
    member_of(&n1, n2).await;
    drop(silent);
}

/// A new link of a member that nobody has met yet.
async fn member_of(n1: &Host, to: &Host) {
    let somebody = member(n1);
    wait_for_async("a place at the door", LIMIT, async || {
        somebody.link(to, Class::Calls).await.map_err(|error| error.to_string())
    })
    .await
    .expect("it gets in");
}

#[tokio::test]
async fn floods_and_slow_senders_end_alone() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let key = n1.hub.key("ops", Scope::Admin, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let somebody = member(&n1);
    let uid = n2.uid().await;
    // The preface of HTTP/2 and an empty SETTINGS frame, then headers that never end.
    let mut flood = somebody.dialer.dial(door(n2), uid, Class::Calls).await.expect("in");
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    flood.write_all(preface).await.expect("sent");
    flood.write_all(b"\0\x40\0\x01\0\0\0\0\x01").await.expect("sent");
    let pushing = async {
        flood.write_all(&[0; 0x4000]).await?;
        for _ in 0..1_000 {
            flood.write_all(b"\0\x40\0\x09\0\0\0\0\x01").await?;
            flood.write_all(&[0; 0x4000]).await?;
        }
        let mut rest = Vec::new();
        flood.read_to_end(&mut rest).await
    };
    let flooded = tokio::time::timeout(LIMIT, pushing).await.expect("it is not listened to for ever");
    drop(flooded);
    // A byte now and then: it holds a place and nothing else.
    let mut slow = TcpStream::connect(door(n2)).await.expect("connected");
    slow.write_all(&[0x16]).await.expect("sent");
    let mut silent = somebody.dialer.dial(door(n2), uid, Class::Calls).await.expect("in");
    silent.write_all(&preface[..5]).await.expect("sent");
    n1.delete(n2, &key, "a").await.expect("others are served");
    let ended = tokio::time::timeout(LIMIT, slow.read(&mut [0; 64])).await.expect("the handshake has a limit");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}
