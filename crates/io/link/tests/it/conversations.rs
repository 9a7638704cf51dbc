//! What one says arrives, in order, to its end, and nobody pays for another.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use acp_base::Code;
use acp_dev_wait::wait_for_async;
use acp_io_link::{Class, Link, LinkError, Spliced, limits, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::world::{Cluster, LIMIT, Service, link, to};

const NOW: Duration = limits::OPEN_LIMIT;

#[tokio::test]
async fn bytes_go_there_and_back_and_both_directions_end_together() {
    let cluster = Cluster::new(1);
    let (caller, service) = (cluster.node(2).await, Arc::new(Service::default()));
    let (open, _doors) = cluster.node(1).await.open_door(service.clone());
    let link = link(&caller, &open).await;
    let mut conversation = link.open(&to("echo"), NOW).await.expect("opened");
    assert_eq!(conversation.answer(), &serde_json::json!({ "taken": "é" }), "what the other side said of it");
    // A round trip first, so that it is seen to be full duplex, then more than all windows and buffers hold.
    conversation.write_all(b"hello").await.expect("sent");
    let mut hello = [0; 5];
    conversation.read_exact(&mut hello).await.expect("echoed");
    assert_eq!(&hello, b"hello");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| u8::try_from(number % 251).expect("small")).collect();
    let (mut reader, mut writer) = tokio::io::split(conversation);
    let mut back = Vec::new();
    let (written, read) = tokio::join!(
        async {
            writer.write_all(&sent).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut back)
    );
    written.expect("sent");
    read.expect("ended in order");
    assert!(back == sent, "{} bytes came back of {}", back.len(), sent.len());
    let total = u64::try_from(sent.len() + 5).expect("fits");
    wait_for_async("the splice to end", LIMIT, async || {
        let ended = service.ended.lock().expect("no panic").clone();
        if ended == [Ok(Spliced { there: total, back: total })] { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await
    .expect("both directions ended");
}

#[tokio::test]
async fn what_is_cut_off_is_told_from_what_has_ended() {
    let cluster = Cluster::new(1);
    let (caller, service) = (cluster.node(2).await, Arc::new(Service::default()));
    let (open, _doors) = cluster.node(1).await.open_door(service.clone());
    let link = link(&caller, &open).await;
    // The service goes first: that is the end, in order, though the caller has not said that it is done.
    let mut conversation = link.open(&to("brief"), NOW).await.expect("opened");
    let mut word = String::new();
    conversation.read_to_string(&mut word).await.expect("an end");
    assert_eq!(word, "bye");
    drop(conversation);
    // The caller vanishes in the middle: the service's side sees an error, and is free.
    let mut conversation = link.open(&to("echo"), NOW).await.expect("opened");
    conversation.write_all(b"half a mess").await.expect("sent");
    drop(conversation);
    wait_for_async("the cut to arrive", LIMIT, async || {
        let ended = service.ended.lock().expect("no panic").clone();
        match ended.as_slice() {
            [Ok(_), Err(std::io::ErrorKind::ConnectionReset)] => Ok(()),
            _ => Err(format!("{ended:?}")),
        }
    })
    .await
    .expect("cut off");
    assert_eq!(service.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_conversation_that_is_turned_away_says_why() {
    let cluster = Cluster::new(1);
    let caller = cluster.node(2).await;
    let (open, _doors) = cluster.node(1).await.open_door(Arc::default());
    let link = link(&caller, &open).await;
    let failure = link.open(&to("nobody"), NOW).await.expect_err("there is none").failure("n1");
    assert_eq!((failure.code, failure.message.as_str()), (Code::NotFound, "there is no service nobody — none"));
    let mut long = to("echo");
    long.context = "x".repeat(limits::OPENING_BYTES_MAX).into();
    let error = link.open(&long, NOW).await.expect_err("too long");
    assert!(matches!(error, LinkError::Oversized(_)), "{error:?}");
    link.open(&to("echo"), NOW).await.expect("the link goes on");
}

#[tokio::test]
async fn a_full_link_says_so_and_has_room_again() {
    let cluster = Cluster::new(1);
    let (caller, service) = (cluster.node(2).await, Arc::new(Service::default()));
    let (open, _doors) = cluster.node(1).await.open_door(service.clone());
    let link = link(&caller, &open).await;
    let mut held = Vec::new();
    for _ in 0..limits::CONVERSATIONS_MAX {
        held.push(link.open(&to("silent"), NOW).await.expect("room"));
    }
    let error = link.open(&to("echo"), NOW).await.expect_err("full");
    assert!(matches!(error, LinkError::Full(limits::CONVERSATIONS_MAX)), "{error:?}");
    held.pop();
    link.open(&to("echo"), NOW).await.expect("room again");
}

/// Those who do not read fill the windows of their conversations; others on the same link go on.
#[tokio::test]
async fn a_peer_that_stops_reading_stops_only_itself() {
    const STUCK: usize = 32;
    let cluster = Cluster::new(1);
    let caller = cluster.node(2).await;
    let (open, _doors) = cluster.node(1).await.open_door(Arc::default());
    let link = link(&caller, &open).await;
    let mut held = Vec::new();
    for _conversation in 0..STUCK {
        let mut stuck = link.open(&to("silent"), NOW).await.expect("opened");
        let sent = fill(&mut stuck).await;
        let window = usize::try_from(limits::STREAM_WINDOW_BYTES).expect("fits");
        assert!(sent >= window && sent <= window * 4, "{sent} bytes were taken for somebody who reads none");
        held.push(stuck);
    }
    let mut other = link.open(&to("echo"), NOW).await.expect("opened");
    other.write_all(b"still there?").await.expect("sent");
    let mut back = [0; 12];
    tokio::time::timeout(LIMIT, other.read_exact(&mut back)).await.expect("in time").expect("echoed");
}

/// Says as much as is taken; answers how much that was.
async fn fill(stuck: &mut acp_io_link::Conversation) -> usize {
    let bytes = vec![0; 8 << 20];
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(50), stuck.write(&bytes[sent..])).await {
        sent += written.expect("nothing is cut off");
        assert!(sent < bytes.len(), "nothing ever pushed back");
    }
    sent
}

#[tokio::test]
async fn who_was_dialled_opens_conversations_on_a_reverse_link() {
    let cluster = Cluster::new(1);
    let (hub, hidden) = (cluster.node(1).await, cluster.node(2).await);
    let dialing = async {
        let stream = hidden.dialer().dial(hub.address, hub.uid, Class::Reverse).await.expect("dialled");
        let (service, drain) = (Arc::new(Service::default()), CancellationToken::new());
        let tasks = hidden.tasks.clone();
        hidden.tasks.spawn("reverse", async move { drop(serve(stream, service, tasks, drain).await) });
    };
    let (accepted, ()) = tokio::join!(hub.admit(), dialing);
    let accepted = accepted.expect("admitted");
    assert_eq!((accepted.class, accepted.peer.expect("shown").identity.node), (Class::Reverse, hidden.uid));
    let link = Link::over(accepted.stream, &hub.tasks).await.expect("linked");
    let mut conversation = link.open(&to("echo"), NOW).await.expect("opened by the side that was dialled");
    conversation.write_all(b"hi").await.expect("sent");
    let mut back = [0; 2];
    conversation.read_exact(&mut back).await.expect("echoed");
}

#[tokio::test]
async fn a_drain_lets_conversations_end_and_begins_no_others() {
    let cluster = Cluster::new(1);
    let caller = cluster.node(2).await;
    let (open, _doors) = cluster.node(1).await.open_door(Arc::default());
    let link = link(&caller, &open).await;
    let mut conversation = link.open(&to("echo"), NOW).await.expect("opened");
    open.drain.cancel();
    conversation.write_all(b"last words").await.expect("sent");
    let mut back = [0; 10];
    conversation.read_exact(&mut back).await.expect("echoed");
    drop(conversation);
    wait_for_async("the link to close", LIMIT, async || if link.is_open() { Err("open") } else { Ok(()) })
        .await
        .expect("closed");
    let error = link.open(&to("echo"), NOW).await.expect_err("closed");
    assert!(matches!(error, LinkError::Closed), "{error:?}");
}
