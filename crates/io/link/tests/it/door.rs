//! Who comes in, who does not, and that those who only knock keep nobody out.

use std::{sync::Arc, time::Duration};

use acp_base::Uid;
use acp_dev_wait::wait_for_async;
use acp_io_link::{Class, Link, LinkError, Unwelcome, dial_to_ask, dial_to_join, limits};
use acp_io_pki::Refusal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc::Receiver,
};

use crate::world::{Cluster, HERE, LIMIT, Node, Open, link, to};

async fn told(doors: &mut Receiver<Result<Class, LinkError>>) -> Result<Class, LinkError> {
    tokio::time::timeout(LIMIT, doors.recv()).await.expect("in time").expect("the door is open")
}

async fn node_and_door(cluster: &Cluster) -> (Node, Open, Receiver<Result<Class, LinkError>>) {
    let (open, doors) = cluster.node(1).await.open_door(Arc::default());
    (cluster.node(2).await, open, doors)
}

#[tokio::test]
async fn strangers_are_refused_with_the_reason_on_both_sides() {
    let (ours, theirs) = (Cluster::new(1), Cluster::new(9));
    let (caller, open, mut doors) = node_and_door(&ours).await;
    // Of another cluster: its own side refuses us first.
    let stranger = theirs.node(2).await;
    let error = stranger.dialer().dial(open.address, open.uid, Class::Calls).await.expect_err("another cluster");
    assert!(matches!(error, LinkError::Refused(Refusal::Issuer)), "{error:?}");
    let said = told(&mut doors).await.expect_err("it refused us");
    assert!(matches!(said, LinkError::Unwelcome(Unwelcome::Stranger)), "{said:?}");
    // Of another cluster, and trusting ours: our side refuses.
    let lenient = acp_io_link::Dialer::new(caller.trust.clone(), stranger.held.clone());
    let stream = lenient.dial(open.address, open.uid, Class::Calls).await.expect("TLS 1.3 tells a client later");
    let refused = told(&mut doors).await.expect_err("another cluster");
    assert!(matches!(refused, LinkError::Refused(Refusal::Issuer)), "{refused:?}");
    let link = Link::over(stream, &caller.tasks).await;
    let opened = match link {
        Ok(link) => link.open(&to("echo"), LIMIT).await.map(drop),
        Err(error) => Err(error),
    };
    opened.expect_err("nothing comes of it");
    // A member whose address is another's.
    let error = caller.dialer().dial(open.address, Uid::from_u128(7), Class::Calls).await.expect_err("not that node");
    assert!(matches!(error, LinkError::Refused(Refusal::Node(_))), "{error:?}");
}

/// In TLS 1.3 the caller's handshake is over before its certificate was looked at: the link is where it hears of it.
#[tokio::test]
async fn a_caller_that_is_turned_away_is_told_why() {
    let cluster = Cluster::new(1);
    let (caller, node) = (cluster.node(2).await, cluster.node(1).await);
    let trust = node.trust.clone();
    let (open, mut doors) = node.open_door(Arc::default());
    let standing = link(&caller, &open).await;
    assert!(matches!(told(&mut doors).await, Ok(Class::Calls)));
    trust.revoke([caller.uid].into());
    let stream = caller.dialer().dial(open.address, open.uid, Class::Calls).await.expect("its side accepts");
    let error = Link::over(stream, &caller.tasks).await.expect_err("removed");
    assert!(matches!(error, LinkError::Unwelcome(Unwelcome::Removed)), "{error:?}");
    assert!(matches!(told(&mut doors).await, Err(LinkError::Refused(Refusal::Revoked(_)))));
    // A link is cut by its owner, and everybody hears of it.
    let conversation = standing.open(&to("echo"), LIMIT).await.expect("it stands");
    assert_eq!(standing.conversations(), 1);
    standing.cut();
    tokio::time::timeout(LIMIT, standing.ended()).await.expect("it has ended");
    assert!(!standing.is_open());
    drop(conversation);
}

#[tokio::test]
async fn newcomers_come_in_for_joining_alone() {
    let cluster = Cluster::new(1);
    let (_caller, open, mut doors) = node_and_door(&cluster).await;
    dial_to_join(open.address, cluster.authority.fingerprint()).await.expect("admitted");
    assert!(matches!(told(&mut doors).await, Ok(Class::Join)));
    let (_stream, authority) = dial_to_ask(open.address).await.expect("admitted");
    assert_eq!(authority, cluster.authority.fingerprint(), "whoever asks is told whose it is");
    assert!(matches!(told(&mut doors).await, Ok(Class::Join)));
    let error = dial_to_join(open.address, Cluster::new(1).authority.fingerprint()).await.expect_err("another cluster");
    assert!(matches!(error, LinkError::Refused(Refusal::Issuer)), "{error:?}");
}

#[tokio::test]
async fn garbage_and_other_protocols_are_turned_away() {
    let cluster = Cluster::new(1);
    let (_caller, open, mut doors) = node_and_door(&cluster).await;
    // The head of a TLS 1.2 hello without any extension, a plain HTTP request, and nothing at all.
    let hello = [
        &[0x16, 0x03, 0x01, 0x00, 0x2d, 0x01, 0x00, 0x00, 0x29, 0x03, 0x03][..],
        &[7; 32],
        &[0x00, 0x00, 0x02, 0xc0, 0x2f, 0x01, 0x00],
    ]
    .concat();
    for words in [hello.as_slice(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b""] {
        let mut tcp = TcpStream::connect(open.address).await.expect("connected");
        tcp.write_all(words).await.expect("sent");
        tcp.shutdown().await.expect("said");
        let refused = told(&mut doors).await.expect_err("no peer");
        assert!(matches!(refused, LinkError::Handshake(_) | LinkError::Protocol), "{words:x?}: {refused:?}");
        // Whatever is answered, it ends.
        drop(tokio::time::timeout(LIMIT, tcp.read_to_end(&mut Vec::new())).await.expect("closed"));
    }
}

/// Many more than the door holds knock and say nothing, from as many addresses as the loopback has.
#[tokio::test]
async fn those_who_only_knock_keep_nobody_out() {
    let cluster = Cluster::new(1);
    let (caller, open, mut doors) = node_and_door(&cluster).await;
    let mut silent = Vec::new();
    for number in 0..limits::HANDSHAKES_MAX + 100 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let host = u8::try_from(number / limits::HANDSHAKES_PER_ADDRESS_MAX + 10).expect("few");
        socket.bind(([127, 0, 0, host], 0).into()).expect("bound");
        silent.push(socket.connect(open.address).await.expect("connected"));
    }
    wait_for_async("the oldest to be given up", LIMIT, async || match open.gate.waiting() {
        limits::HANDSHAKES_MAX => Ok(()),
        waiting => Err(format!("{waiting} wait")),
    })
    .await
    .expect("bounded");
    assert!(matches!(told(&mut doors).await, Err(LinkError::Crowded)));
    link(&caller, &open).await.open(&to("echo"), LIMIT).await.expect("others get in");
    drop(silent);
    wait_for_async("the door to be free", LIMIT, async || match open.gate.waiting() {
        0 => Ok(()),
        waiting => Err(format!("{waiting} wait")),
    })
    .await
    .expect("free");
}

#[tokio::test]
async fn one_address_has_a_share_of_the_door() {
    let cluster = Cluster::new(1);
    let (_caller, open, mut doors) = node_and_door(&cluster).await;
    let mut silent = Vec::new();
    for _ in 0..=limits::HANDSHAKES_PER_ADDRESS_MAX {
        silent.push(TcpStream::connect(open.address).await.expect("connected"));
    }
    assert!(matches!(told(&mut doors).await, Err(LinkError::Crowded)));
    assert!(silent[0].local_addr().expect("connected").ip() == HERE);
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_ends() {
    let cluster = Cluster::new(1);
    let (_caller, open, mut doors) = node_and_door(&cluster).await;
    let started = tokio::time::Instant::now();
    let _tcp = TcpStream::connect(open.address).await.expect("connected");
    let refused = doors.recv().await.expect("told").expect_err("nothing was said");
    assert!(matches!(refused, LinkError::TimedOut(5_000)), "{refused:?}");
    assert!(started.elapsed() < limits::HANDSHAKE_LIMIT + Duration::from_secs(1));
}
