//! `system console` on a pipe and on a real terminal.

use std::{
    fs::File,
    os::fd::OwnedFd,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use acp_base::Uid;
use acp_io_daemon::Router;
use acp_wire_api::{
    Method,
    vmm::{AttachConsole, AttachConsoleReply},
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::node::{LIMIT, Node, only, system};

/// A vmm whose guest echoes every byte in upper case. At `x` it closes the connection, as a vmm that restarts does; who
/// attaches again has to know how far he was.
pub(crate) fn add_vmm(node: &mut Node) -> Arc<AtomicU32> {
    let attached = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&attached);
    let mut router = Router::new();
    router.upgrade::<AttachConsole, _, _, _, _>(move |call| {
        let life = counted.fetch_add(1, Ordering::Relaxed);
        let position = call.request.position.unwrap_or(1000);
        let serve = move |mut io: acp_io_client::Upgraded| async move {
            io.write_all(format!("life {life} at {position}\r\n").as_bytes()).await.expect("the terminal reads");
            let mut byte = [0];
            while let Ok(1) = io.read(&mut byte).await {
                if byte == *b"x" {
                    return;
                }
                io.write_all(&byte.to_ascii_uppercase()).await.expect("the terminal reads");
            }
        };
        std::future::ready(Ok((AttachConsoleReply { position, lost_bytes: 0 }, serve)))
    });
    let interfaces = vec![only(acp_wire_api::vmm::interface(), &[AttachConsole::NAME])];
    node.add_instance("vmm", Some(Uid::from_u128(1).simple()), interfaces, router);
    attached
}

#[tokio::test]
async fn a_pipe_is_passed_on_and_ends_the_console() {
    let mut node = Node::new();
    node.add_cluster(vec![system(1, "demo", "running")]);
    add_vmm(&mut node);
    let mut child = node
        .command("system console demo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("acpctl runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(b"abc\n").await.expect("written");
    drop(input);
    let output = timeout(LIMIT, child.wait_with_output()).await.expect("it ends").expect("it ran");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "life 0 at 1000\r\nABC\n");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_system_that_does_not_run_has_no_console() {
    let mut node = Node::new();
    node.add_cluster(vec![system(1, "demo", "stopped")]);
    let run = node.run("system console demo").await;
    assert_eq!(run.status, Some(4));
    assert!(run.err.starts_with("error: system demo is stopped, and has a console only while it runs"), "{}", run.err);
    assert_eq!(node.run("system console other").await.status, Some(2));
    assert_eq!(node.run("system log demo").await.status, Some(4));
}

/// Both ends of a pseudo terminal.
pub(crate) fn terminal() -> (tokio::fs::File, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    grantpt(&ours).expect("granted");
    unlockpt(&ours).expect("unlocked");
    let path = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = File::options().read(true).write(true).open(path.to_str().expect("UTF-8")).expect("opened");
    (tokio::fs::File::from_std(ours.into()), theirs.into())
}

pub(crate) async fn until(screen: &mut tokio::fs::File, seen: &mut String, text: &str) {
    let mut chunk = [0; 1024];
    while !seen.contains(text) {
        let count = timeout(LIMIT, screen.read(&mut chunk)).await;
        let count = count.unwrap_or_else(|_elapsed| panic!("never {text:?}; last: {seen:?}")).expect("readable");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
}

#[tokio::test]
async fn a_terminal_is_raw_attaches_again_and_is_restored() {
    let mut node = Node::new();
    let objects = node.add_cluster(vec![system(1, "demo", "running")]);
    let attached = add_vmm(&mut node);
    for ending in ["\x1d", "stop"] {
        attached.store(0, Ordering::Relaxed);
        let (mut screen, theirs) = terminal();
        let is_cooked = |fd: &OwnedFd| {
            tcgetattr(fd)
                .expect("a terminal")
                .local_modes
                .contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
        };
        assert!(is_cooked(&theirs));
        let stream = || Stdio::from(theirs.try_clone().expect("cloned"));
        let mut command = node.command("system console demo");
        let mut child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("acpctl runs");
        drop(command);

        let mut seen = String::new();
        until(&mut screen, &mut seen, "life 0 at 1000").await;
        screen.write_all(b"a\x03b").await.expect("typed");
        until(&mut screen, &mut seen, "A\x03B").await;
        assert!(!is_cooked(&theirs), "raw: Ctrl-C goes to the guest");
        screen.write_all(b"x").await.expect("typed");
        // The greeting of 16 bytes and three more were shown.
        until(&mut screen, &mut seen, "life 1 at 1019").await;
        assert!(seen.contains("[acp: connection lost; attaching again"), "{seen:?}");

        if ending == "stop" {
            objects.lock().expect("no panic")[0] = system(1, "demo", "stopped");
            screen.write_all(b"x").await.expect("typed");
            until(&mut screen, &mut seen, "[acp: system demo is stopped]").await;
        } else {
            screen.write_all(ending.as_bytes()).await.expect("typed");
        }
        let status = timeout(LIMIT, child.wait()).await.expect("it ends").expect("it ran");
        assert!(status.success(), "{status:?}: {seen:?}");
        assert!(is_cooked(&theirs), "the terminal is as it was");
    }
}

#[tokio::test]
async fn a_signal_restores_the_terminal() {
    let mut node = Node::new();
    node.add_cluster(vec![system(1, "demo", "running")]);
    add_vmm(&mut node);
    let (mut screen, theirs) = terminal();
    let stream = || Stdio::from(theirs.try_clone().expect("cloned"));
    let mut command = node.command("system console demo");
    let mut child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().expect("acpctl runs");
    until(&mut screen, &mut String::new(), "life 0").await;
    let pid =
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw).expect("it runs");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
    let status = timeout(LIMIT, child.wait()).await.expect("it ends").expect("it ran");
    assert_eq!(status.code(), Some(8));
    assert!(tcgetattr(&theirs).expect("a terminal").local_modes.contains(LocalModes::ICANON));
}
