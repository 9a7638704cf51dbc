//! The client against a real QEMU without a machine.

use std::{io::Write, os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use acp_dev_wait::wait_for_async;
use acp_io_qmp::{CloseReason, ErrorClass, ExecuteError, Occurrence, Session, connect};
use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

const LIMIT: Duration = Duration::from_secs(20);
const PROGRAM: &str = "qemu-system-x86_64";

fn start(socket: &Path) -> Option<Child> {
    let monitor = format!("unix:{},server=on,wait=off", socket.display());
    let child = Command::new(PROGRAM)
        .args(["-M", "none", "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", "-qmp", &monitor])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) => {
            writeln!(std::io::stderr(), "skipped: {PROGRAM} cannot be run: {error}").expect("stderr is open");
            None
        }
    }
}

async fn open(socket: &Path) -> Session {
    let stream = wait_for_async("QEMU's socket", LIMIT, async || UnixStream::connect(socket).await);
    connect(stream.await.expect("QEMU listens"), LIMIT).await.expect("QEMU greets")
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test joins its tasks itself")]
async fn a_session_with_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("qmp.sock");
    let Some(mut qemu) = start(&socket) else { return };

    let Session { greeting, client, events: _, driver } = open(&socket).await;
    let driver = tokio::spawn(driver.run());
    assert!(greeting.version.split('.').count() == 3, "{greeting:?}");
    let status = client.execute("query-status", Value::Null).await.expect("QEMU answers");
    assert!(status["status"].is_string(), "{status}");
    let refusal = client.execute("no-such-command", json!({})).await.expect_err("there is none");
    assert!(matches!(refusal, ExecuteError::Refused { class: ErrorClass::CommandNotFound, .. }), "{refusal}");
    let file: OwnedFd = std::fs::File::open("/dev/null").expect("it is there").into();
    client.send_fd("null", file).await.expect("QEMU takes descriptors");
    client.execute("closefd", json!({ "fdname": "null" })).await.expect("it has that descriptor");
    drop(client);
    assert!(matches!(driver.await.expect("the driver ends"), CloseReason::ByUs));

    let Session { client, mut events, driver, .. } = open(&socket).await;
    let driver = tokio::spawn(driver.run());
    client.execute("quit", Value::Null).await.expect("QEMU quits");
    let Some(Occurrence::Event(event)) = events.next().await else { panic!("QEMU says so") };
    assert_eq!((event.name.as_str(), &event.data["reason"]), ("SHUTDOWN", &json!("host-qmp-quit")));
    assert!(matches!(driver.await.expect("the driver ends"), CloseReason::ByPeer));
    assert!(qemu.wait().await.expect("it ends").success());
}
