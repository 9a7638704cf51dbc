//! The chassis over real sockets: what a caller sees, good and bad.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use acp_base::{Code, Failure};
use acp_dev_wait::{seen, wait_for_async};
use acp_io_daemon::{Context, Router};
use acp_wire_api::{
    Empty,
    cluster::{self, Watch, WatchReply, WatchRequest},
    daemon::GetHealth,
    storage::{self, ImportImage, ImportImageRequest},
    vmm::{self, AttachConsole, AttachConsoleReply, AttachConsoleRequest},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest a test waits for anything.
const LIMIT: Duration = Duration::from_secs(10);

struct Daemon {
    context: Context,
    live_watches: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn only(mut interface: acp_wire_api::Interface, methods: &[&str]) -> acp_wire_api::Interface {
    interface.methods.retain(|method| methods.contains(&method.name));
    interface
}

fn start() -> Daemon {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let interfaces = vec![
        only(cluster::interface(), &["acp.cluster.Watch", "acp.cluster.GetStatus"]),
        only(storage::interface(), &["acp.storage.ImportImage"]),
        only(vmm::interface(), &["acp.vmm.AttachConsole"]),
    ];
    let context = Context::for_test("sample", directory.path(), interfaces);
    let live_watches = Arc::new(AtomicUsize::new(0));
    let mut router = Router::new();
    let live = Arc::clone(&live_watches);
    router.stream::<Watch, _, _>(move |call, sink| {
        let counted = Counted(Arc::clone(&live));
        live.fetch_add(1, Ordering::SeqCst);
        async move {
            let _counted = counted;
            let replies: usize = call.request.cursor.as_deref().unwrap_or("0").parse().expect("the tests' own number");
            for number in 0..replies {
                sink.send(WatchReply { events: Vec::new(), cursor: number.to_string() }).await?;
            }
            if call.request.without_stats {
                std::future::pending::<()>().await;
            }
            Ok(WatchReply { events: Vec::new(), cursor: "last".into() })
        }
    });
    router.once::<cluster::GetStatus, _, _>(|_call| std::future::pending::<Result<cluster::Status, Failure>>());
    router.once_fds::<ImportImage, _, _>(|mut call| async move {
        let mut file = std::fs::File::from(call.fds.pop().ok_or_else(|| Failure::invalid("a descriptor is missing"))?);
        file.write_all(call.request.name.as_str().as_bytes()).map_err(|error| Failure::internal(error.to_string()))?;
        Ok((acp_wire_api::jobs::Started { job: None }, vec![OwnedFd::from(file)]))
    });
    router.upgrade::<AttachConsole, _, _, _, _>(|_call| async move {
        let echo = |mut io: acp_io_client::Upgraded| async move {
            let mut bytes = vec![0; 64];
            while let Ok(count @ 1..) = io.read(&mut bytes).await {
                io.write_all(&bytes[..count]).await.expect("the test reads");
            }
        };
        Ok((AttachConsoleReply { position: 7, lost_bytes: 0 }, echo))
    });
    context.serve(router).expect("a free path");
    Daemon { context, live_watches, _directory: directory }
}

impl Daemon {
    fn socket(&self) -> PathBuf {
        self.context.paths.run.join("sample.sock")
    }

    async fn raw(&self) -> tokio::net::UnixStream {
        tokio::net::UnixStream::connect(self.socket()).await.expect("the daemon listens")
    }

    /// Sends bytes and answers every message that comes back until the daemon closes or `count` have come.
    async fn send(&self, bytes: &[u8], count: usize) -> Vec<Value> {
        let mut stream = self.raw().await;
        // A daemon that refuses a message may close before it has read all of it.
        drop(stream.write_all(bytes).await);
        let mut received = Vec::new();
        let read = async {
            while received.iter().filter(|byte| **byte == 0).count() < count {
                match stream.read_buf(&mut received).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(LIMIT, read).await.expect("an answer within the limit");
        let messages = received.split(|byte| *byte == 0).filter(|message| !message.is_empty());
        messages.map(|message| serde_json::from_slice(message).expect("JSON")).collect()
    }

    async fn answers(&self) {
        let health = self.context.client.service("sample").call::<GetHealth>(Empty {}).await.expect("still answers");
        assert_eq!(health.service, "sample");
    }

    /// Waits until this many watches are live.
    async fn wait_watches(&self, count: usize) {
        let look = async || seen(self.live_watches.load(Ordering::SeqCst), |live| *live == count);
        wait_for_async("the number of live watches", LIMIT, look).await.expect("watches begin and end at once");
    }
}

fn message(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(0);
    bytes
}

#[tokio::test]
async fn a_bad_call_gets_a_precise_error_and_the_next_one_is_answered() {
    let daemon = start();
    let watch = |parameters: Value| message(&json!({"method": "acp.cluster.Watch", "parameters": parameters}));
    let cases: [(Vec<u8>, &str, &str); 7] = [
        (
            message(&json!({"method": "acp.cluster.Nonsense"})),
            "org.varlink.service.MethodNotFound",
            "acp.cluster.Nonsense",
        ),
        (
            message(&json!({"method": "com.example.X", "parameters": {"a": 1}})),
            "org.varlink.service.InterfaceNotFound",
            "com.example",
        ),
        (watch(json!({"kindz": []})), "acp.error.InvalidArgument", "unknown field `kindz`"),
        (watch(json!({"cursor": 5})), "acp.error.InvalidArgument", "cursor: invalid type: integer `5`"),
        (watch(json!({"kinds": ["sheep"]})), "acp.error.InvalidArgument", "kinds[0]: unknown variant `sheep`"),
        (
            message(&json!({"method": "acp.vmm.AttachConsole"})),
            "acp.error.InvalidArgument",
            "must be called with upgrade",
        ),
        (
            message(&json!({"method": "acp.storage.ImportImage", "parameters": {"name": "../x"}})),
            "acp.error.InvalidArgument",
            "not '/'",
        ),
    ];
    for (bytes, error, text) in cases {
        let mut pipelined = bytes.clone();
        pipelined.extend(message(&json!({"method": "acp.daemon.GetHealth", "parameters": {}})));
        let replies = daemon.send(&pipelined, 2).await;
        assert_eq!(replies[0]["error"], error, "{replies:?}");
        assert!(replies[0]["parameters"].to_string().contains(text), "{text}: {replies:?}");
        assert_eq!(replies[1]["parameters"]["service"], "sample", "{replies:?}");
    }
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_connection_closed() {
    let daemon = start();
    for garbage in [&b"no json\0"[..], b"[1,2]\0", b"{\"method\":5}\0", b"\xff\xfe\0", b"{}\0"] {
        let replies = daemon.send(garbage, usize::MAX).await;
        assert_eq!(replies.len(), 1, "{replies:?}");
        assert_eq!(replies[0]["error"], "acp.error.InvalidArgument");
    }
    let replies = daemon.send(&vec![b'x'; 3 << 20], usize::MAX).await;
    assert_eq!(replies[0]["error"], "acp.error.ResourceExhausted");
    daemon.raw().await.write_all(b"{\"method\":\"acp").await.expect("half a message");
    daemon.answers().await;
}

#[tokio::test]
async fn introspection_answers_every_interface() {
    let daemon = start();
    let info = &daemon.send(&message(&json!({"method": "org.varlink.service.GetInfo"})), 1).await[0]["parameters"];
    let interfaces = info["interfaces"].as_array().expect("a list").clone();
    assert!(interfaces.contains(&json!("acp.error")) && interfaces.contains(&json!("org.varlink.service")));
    for name in interfaces {
        let call = json!({"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": name}});
        let reply = &daemon.send(&message(&call), 1).await[0];
        let text = reply["parameters"]["description"].as_str().expect("a text");
        assert!(text.contains(&format!("interface {}", name.as_str().expect("a name"))), "{text}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_last_reply_and_its_handler_with_its_caller() {
    let daemon = start();
    let client = daemon.context.client.service("sample");
    let request = |cursor: &str, forever| WatchRequest {
        kinds: vec![],
        cursor: Some(cursor.into()),
        without_stats: forever,
        here: None,
    };
    let mut replies = client.stream::<Watch>(request("3", false)).await.expect("a stream");
    let mut seen = Vec::new();
    while let Some(reply) = replies.next().await {
        seen.push(reply.expect("no error").cursor);
    }
    assert_eq!(seen, ["0", "1", "2", "last"]);
    let once = client.call::<Watch>(request("3", false)).await.expect("the first reply alone");
    assert_eq!(once.cursor, "0");
    let mut idle = Vec::new();
    for _ in 0..50 {
        let mut replies = client.stream::<Watch>(request("1", true)).await.expect("a stream");
        replies.next().await.expect("one").expect("no error");
        idle.push(replies);
    }
    assert_eq!(daemon.live_watches.load(Ordering::SeqCst), 50);
    drop(idle);
    daemon.wait_watches(0).await;
}

#[tokio::test]
async fn descriptors_pass_both_ways() {
    let daemon = start();
    let file = tempfile::tempfile().expect("a file");
    let request =
        ImportImageRequest { name: "demo".parse().expect("valid"), pool: None, url: None, source: None, sha256: None };
    let client = daemon.context.client.service("sample");
    let (_, fds) = client.call_fds::<ImportImage>(request, vec![OwnedFd::from(file)]).await.expect("answered");
    let mut back = std::fs::File::from(fds.into_iter().next().expect("one descriptor"));
    back.seek(SeekFrom::Start(0)).expect("a file");
    let mut text = String::new();
    back.read_to_string(&mut text).expect("readable");
    assert_eq!(text, "demo");
}

#[tokio::test]
async fn an_upgraded_connection_carries_raw_bytes_and_those_sent_early() {
    let daemon = start();
    let request = AttachConsoleRequest { backlog_bytes: None, position: None };
    let client = daemon.context.client.service("sample");
    let (reply, mut io) = client.upgrade::<AttachConsole>(request).await.expect("upgraded");
    assert_eq!(reply.position, 7);
    io.write_all(b"a\0b").await.expect("open");
    let mut echoed = [0; 3];
    io.read_exact(&mut echoed).await.expect("echoed");
    assert_eq!(&echoed, b"a\0b");

    let mut stream = daemon.raw().await;
    let mut bytes = message(&json!({"method": "acp.vmm.AttachConsole", "parameters": {}, "upgrade": true}));
    bytes.extend(b"early\0");
    stream.write_all(&bytes).await.expect("open");
    let mut received = Vec::new();
    while !received.ends_with(b"early\0") {
        assert_ne!(stream.read_buf(&mut received).await.expect("open"), 0);
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let daemon = start();
    let call = json!({"method": "acp.cluster.GetStatus", "parameters": {}, "acp.ctx": {"deadline_ms": 20}});
    let replies = daemon.send(&message(&call), 1).await;
    assert_eq!(replies[0]["error"], "acp.error.DeadlineExceeded");
    let client = daemon.context.client.service("sample").deadline(Duration::from_millis(20));
    let failure = client.call::<cluster::GetStatus>(Empty {}).await.expect_err("never answered");
    assert_eq!(failure.code, Code::DeadlineExceeded);
}

#[tokio::test]
async fn idle_and_deaf_callers_hurt_nobody() {
    let daemon = start();
    let idle: Vec<UnixStream> =
        (0..400).map(|_| UnixStream::connect(daemon.socket()).expect("the daemon listens")).collect();
    let mut deaf = daemon.raw().await;
    let flood = json!({"method": "acp.cluster.Watch", "parameters": {"cursor": "100000000"}, "more": true});
    deaf.write_all(&message(&flood)).await.expect("open");
    for _ in 0..100 {
        daemon.answers().await;
    }
    assert_eq!(daemon.live_watches.load(Ordering::SeqCst), 1);
    drop((idle, deaf));
    daemon.wait_watches(0).await;
}

#[tokio::test]
async fn a_drain_ends_everything() {
    let daemon = start();
    let request = WatchRequest { kinds: vec![], cursor: None, without_stats: true, here: None };
    let mut replies = daemon.context.client.service("sample").stream::<Watch>(request).await.expect("a stream");
    daemon.wait_watches(1).await;
    daemon.context.drain.cancel();
    let failure = replies.next().await.expect("a last word").expect_err("an error");
    assert_eq!(failure.code, Code::Unavailable);
    assert!(daemon.context.tasks.join(LIMIT).await, "tasks are left");
}
