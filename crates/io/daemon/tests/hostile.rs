//! The chassis against callers who take all they can get: they lose their connection, nobody else loses anything.

use std::{
    io::{IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    os::fd::AsFd as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::{Context, Router};
use acp_wire_api::{
    Empty,
    cluster::{self, Watch, WatchReply},
    daemon::{GetHealth, GetMetrics},
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

/// The longest a test waits for anything.
const LIMIT: Duration = Duration::from_secs(20);
/// What one user's connections may hold.
const HELD_PER_UID_MAX: f64 = 16.0 * 1024.0 * 1024.0;
/// The largest message taken.
const MESSAGE_MAX: usize = 1024 * 1024;
/// Bytes of each reply of the watch here.
const REPLY_BYTES: usize = 100_000;

struct Daemon {
    context: Context,
    watches: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A daemon whose watch sends large replies without end.
fn start() -> Daemon {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut interface = cluster::interface();
    interface.methods.retain(|method| method.name == "acp.cluster.Watch");
    let context = Context::for_test("sample", directory.path(), vec![interface]);
    let watches = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&watches);
    let mut router = Router::new();
    router.stream::<Watch, _, _>(move |_call, sink| {
        counter.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(Arc::clone(&counter));
        async move {
            let _counted = counted;
            loop {
                sink.send(WatchReply { events: Vec::new(), cursor: "x".repeat(REPLY_BYTES) }).await?;
            }
        }
    });
    context.serve(router).expect("a free path");
    Daemon { context, watches, _directory: directory }
}

impl Daemon {
    fn socket(&self) -> PathBuf {
        self.context.paths.run.join("sample.sock")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.expect("the daemon listens")
    }

    /// It answers a caller who does nothing wrong.
    async fn answers(&self) {
        let health = self.context.client.service("sample").call::<GetHealth>(Empty {}).await.expect("still answers");
        assert_eq!(health.service, "sample");
    }

    async fn held_bytes(&self) -> f64 {
        let metrics = self.context.client.service("sample").call::<GetMetrics>(Empty {}).await.expect("answers");
        let line = metrics.text.lines().find_map(|line| line.strip_prefix("acp_held_bytes "));
        line.expect("the gauge is there").parse().expect("a number")
    }
}

fn message(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(0);
    bytes
}

/// Everything that still comes on a connection until the daemon closes it.
async fn rest(mut stream: UnixStream) -> Vec<Value> {
    let mut received = Vec::new();
    // The daemon closes before it has read all that was sent, which counts as a reset.
    drop(tokio::time::timeout(LIMIT, stream.read_to_end(&mut received)).await.expect("the daemon closes"));
    let messages = received.split(|byte| *byte == 0).filter(|message| !message.is_empty());
    messages.map(|message| serde_json::from_slice(message).expect("JSON")).collect()
}

#[tokio::test]
async fn half_messages_cost_those_who_hold_the_most() {
    let daemon = start();
    let mut modest = daemon.connect().await;
    let call = message(&json!({"method": "acp.daemon.GetHealth", "parameters": {}}));
    let (first, second) = call.split_at(call.len() / 2);
    modest.write_all(first).await.expect("open");
    let closed = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..40 {
        let (mut stream, closed) = (daemon.connect().await, Arc::clone(&closed));
        daemon.context.tasks.spawn("half a message", async move {
            drop(stream.write_all(&vec![b'x'; MESSAGE_MAX]).await);
            let said = rest(stream).await;
            closed.lock().expect("no panic").push(said);
        });
    }
    let most_are_closed = wait_for_async("most of the others to be closed", LIMIT, async || {
        daemon.answers().await;
        assert!(daemon.held_bytes().await <= HELD_PER_UID_MAX);
        seen(closed.lock().expect("no panic").len(), |closed| *closed >= 20)
    });
    most_are_closed.await.expect("they hold too much");
    for said in closed.lock().expect("no panic").iter() {
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0]["error"], "acp.error.ResourceExhausted", "{said:?}");
        assert!(said[0].to_string().contains("16777216 bytes for this user"), "{said:?}");
    }
    modest.write_all(second).await.expect("open");
    let mut reply = Vec::new();
    while !reply.ends_with(b"\0") {
        assert_ne!(modest.read_buf(&mut reply).await.expect("open"), 0, "the modest one was closed");
    }
}

#[tokio::test]
async fn watchers_that_never_read_hold_a_bounded_amount() {
    let daemon = start();
    let mut deaf = Vec::new();
    for _ in 0..200 {
        let mut stream = daemon.connect().await;
        stream.write_all(&message(&json!({"method": "acp.cluster.Watch", "more": true}))).await.expect("open");
        deaf.push(stream);
        assert!(daemon.held_bytes().await <= HELD_PER_UID_MAX);
    }
    let watches = async || seen(daemon.watches.load(Ordering::SeqCst), |watches| *watches < 100);
    wait_for_async("some to lose their connection", LIMIT, watches).await.expect("they hold too much");
    assert!(daemon.watches.load(Ordering::SeqCst) > 20, "more than needed lost their connection");
    assert!(daemon.held_bytes().await > HELD_PER_UID_MAX / 2.0, "what is held is counted");
    drop(deaf);
    let held = async || seen(daemon.held_bytes().await, |held| *held == 0.0);
    wait_for_async("nothing to be held", LIMIT, held).await.expect("it is let go");
}

/// Calls without replies are the worst: nothing that the sender does not do ever makes the daemon wait for it.
#[tokio::test]
async fn calls_sent_ahead_wait_their_turn() {
    let daemon = start();
    let socket = daemon.socket();
    let eager = std::thread::spawn(move || {
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("the daemon listens");
        let call = json!({"method": "acp.daemon.GetHealth", "parameters": {}, "oneway": true});
        let ahead = message(&call).repeat(10_000);
        stream.write_all(&ahead).expect("open");
        stream.write_all(&message(&json!({"method": "acp.daemon.GetHealth"}))).expect("open");
        let mut last = Vec::new();
        while !last.ends_with(b"\0") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the last one is answered");
            last.push(byte[0]);
        }
    });
    let mut count = 0;
    while !eager.is_finished() {
        daemon.answers().await;
        count += 1;
    }
    eager.join().expect("every call was taken");
    // In turns, it would be as many; the other thread has more to do between two calls than this one, or less.
    assert!(count > 1_000, "{count} calls of somebody else were answered beside 10,000");
}

#[tokio::test]
async fn descriptors_of_a_message_that_never_ends_are_bounded_and_closed() {
    let daemon = start();
    let (mut read_end, write_end) = std::io::pipe().expect("a pipe");
    let stream = daemon.connect().await;
    let passed = [write_end.as_fd()];
    for _ in 0..300 {
        stream.writable().await.expect("open");
        let sent = stream.try_io(tokio::io::Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
            Ok(rustix::net::sendmsg(&stream, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL)?)
        });
        if sent.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(write_end);
    let said = rest(stream).await;
    assert_eq!(said[0]["error"], "acp.error.ResourceExhausted", "{said:?}");
    assert!(said[0].to_string().contains("more than 253 descriptors"), "{said:?}");
    let ended = read_end.read(&mut [0]).expect("a pipe");
    assert_eq!(ended, 0, "no copy of the other end is left");
    daemon.answers().await;
}
