//! Against a scripted QEMU.

use std::{fs::OpenOptions, io::Write, path::Path};

use acp_base::Code;
use acp_wire_api::{
    Empty,
    vmm::{AttachConsoleRequest, MachineState, Powerdown, Quit, ReadConsole, ReadConsoleRequest, Resume},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use crate::vmm::{INSTANCE, TestVmm};

/// The sockets and the log of a QEMU.
pub(crate) struct Qemu {
    qmp: UnixListener,
    console: UnixListener,
    log: std::fs::File,
}

impl Qemu {
    pub(crate) fn new(folder: &Path) -> Self {
        let sockets = folder.join("vmm").join(INSTANCE);
        let state = folder.join("state").join("vmm").join(INSTANCE);
        for folder in [&sockets, &state] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        Self {
            qmp: UnixListener::bind(sockets.join("qmp.sock")).expect("bound"),
            console: UnixListener::bind(sockets.join("console.sock")).expect("bound"),
            log: OpenOptions::new().append(true).create(true).open(state.join("console.log")).expect("created"),
        }
    }

    pub(crate) async fn accept_qmp(&self) -> Monitor {
        let mut monitor = Monitor(BufReader::new(self.qmp.accept().await.expect("a client").0));
        monitor.say("{\"QMP\": {\"version\": {}, \"capabilities\": []}}").await;
        monitor.answer("qmp_capabilities", "{}").await;
        monitor
    }

    async fn accept_console(&self) -> UnixStream {
        self.console.accept().await.expect("a client").0
    }

    /// Puts text out as QEMU does: to the client first, then to the log.
    async fn put(&mut self, client: &mut UnixStream, text: &str) {
        client.write_all(text.as_bytes()).await.expect("the vmm reads");
        self.log.write_all(text.as_bytes()).expect("the log takes it");
    }
}

pub(crate) struct Monitor(BufReader<UnixStream>);

impl Monitor {
    pub(crate) async fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).await.expect("the vmm reads");
    }

    pub(crate) async fn answer(&mut self, command: &str, value: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).await.expect("the vmm writes");
        let asked: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(asked["execute"], command);
        self.say(&format!("{{\"return\": {value}, \"id\": {}}}", asked["id"])).await;
    }

    pub(crate) async fn stands(&mut self, running: bool, word: &str) {
        self.answer("query-status", &format!("{{\"running\": {running}, \"status\": \"{word}\"}}")).await;
    }
}

fn all() -> AttachConsoleRequest {
    AttachConsoleRequest { backlog_bytes: None, position: None }
}

#[tokio::test]
async fn from_connecting_to_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    machine.until_state(MachineState::Connecting).await;

    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(false, "prelaunch").await;
    machine.until_state(MachineState::Prelaunch).await;

    let service = vmm.service();
    let script = async {
        monitor.answer("cont", "{}").await;
        monitor.say("{\"event\": \"SOMETHING_NEW\"}").await;
        monitor.stands(true, "running").await;
    };
    let (resumed, ()) = tokio::join!(service.call::<Resume>(Empty {}), script);
    assert_eq!(resumed.expect("resumed").state, MachineState::Running);

    monitor.say("{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"device\": \"d0\", \"operation\": \"write\", \"reason\": \"full\"}}").await;
    monitor.stands(false, "io-error").await;
    let paused = machine.until_state(MachineState::Paused).await;
    assert_eq!((paused.run_state.as_str(), paused.reason.as_str()), ("io-error", "disk d0: write failed: full"));

    monitor.say("{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-shutdown\"}}").await;
    assert!(machine.until_state(MachineState::Shutdown).await.guest_shutdown);
    drop((monitor, qemu));
    let gone = machine.until_state(MachineState::Gone).await;
    assert!(gone.guest_shutdown, "it is still known who ended it");

    let failure = service.call::<Powerdown>(Empty {}).await.expect_err("nobody is there");
    assert_eq!(failure.code, Code::FailedPrecondition, "{failure}");
    service.call::<Quit>(Empty {}).await.expect("what is gone has quit");
    vmm.stop().await;
}

#[tokio::test]
async fn a_qemu_that_ends_instead_of_answering_has_quit() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(true, "running").await;
    let script = async {
        let mut line = String::new();
        monitor.0.read_line(&mut line).await.expect("the vmm writes");
        assert!(line.contains("\"quit\""), "{line}");
        drop((monitor, qemu));
    };
    let service = vmm.service();
    let (quit, ()) = tokio::join!(service.call::<Quit>(Empty {}), script);
    quit.expect("it has quit");
    vmm.stop().await;
}

#[tokio::test]
async fn a_restarted_vmm_finds_machine_and_console_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut qemu = Qemu::new(folder.path());
    qemu.log.write_all(b"said before anybody listened\n").expect("written");

    let vmm = TestVmm::start(folder.path());
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(true, "running").await;
    let mut client = qemu.accept_console().await;
    let (reply, mut screen) = vmm.attach(all()).await;
    assert_eq!((reply.position, reply.lost_bytes), (0, 0));
    qemu.put(&mut client, "first life\n").await;
    screen.until("first life\n").await;
    let position = u64::try_from(screen.seen.len()).expect("small");
    vmm.stop().await;
    screen.until_end().await;
    drop((monitor, client));

    qemu.log.write_all(b"said meanwhile\n").expect("written");
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(true, "running").await;
    machine.until_state(MachineState::Running).await;
    let (reply, mut screen) = vmm.attach(AttachConsoleRequest { backlog_bytes: None, position: Some(position) }).await;
    assert_eq!((reply.position, reply.lost_bytes), (position, 0));
    let mut client = qemu.accept_console().await;
    qemu.put(&mut client, "second life\n").await;
    screen.until("second life\n").await;
    assert_eq!(screen.seen, "said meanwhile\nsecond life\n");

    machine.until("a reader", |status| status.console_readers == 1).await;
    drop(screen);
    machine.until("no reader", |status| status.console_readers == 0).await;
    vmm.stop().await;
}

#[tokio::test]
async fn several_read_and_all_may_type() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut client = qemu.accept_console().await;
    let (_, mut one) = vmm.attach(all()).await;
    let (_, mut two) = vmm.attach(all()).await;
    qemu.put(&mut client, "login: ").await;
    one.until("login: ").await;
    two.until("login: ").await;
    let mut typed = [0; 2];
    one.type_in("a\n").await;
    client.read_exact(&mut typed).await.expect("typed");
    assert_eq!(&typed, b"a\n");
    two.type_in("b\n").await;
    client.read_exact(&mut typed).await.expect("typed");
    assert_eq!(&typed, b"b\n");

    qemu.put(&mut client, "last words").await;
    drop((client, qemu));
    one.until_end().await;
    assert_eq!(one.seen, "login: last words");
    vmm.stop().await;
}

#[tokio::test]
async fn output_is_shown_although_the_log_does_not_take_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut client = qemu.accept_console().await;
    let (_, mut screen) = vmm.attach(all()).await;
    client.write_all(b"the disk is full").await.expect("the vmm reads");
    screen.until("the disk is full").await;
    let health = vmm.service().call::<acp_wire_api::daemon::GetHealth>(Empty {}).await.expect("it answers");
    assert!(health.reason.contains("log"), "{health:?}");
    vmm.stop().await;
}

#[tokio::test]
async fn the_log_is_trimmed_and_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut client = qemu.accept_console().await;
    let line = "0123456789abcde\n";
    for _ in 0..(20 << 10) / line.len() {
        qemu.put(&mut client, line).await;
    }
    let request = |bytes: u32, follow: bool| ReadConsoleRequest { bytes, follow };
    let reply = vmm.service().call::<ReadConsole>(request(1 << 20, false)).await.expect("it answers");
    assert_eq!(reply.text.len(), 20 << 10, "the log knows more than the ring of 8 KiB");
    let too_much = vmm.service().call::<ReadConsole>(request((1 << 20) + 1, false)).await.expect_err("too much");
    assert_eq!(too_much.code, Code::InvalidArgument);

    let (_, mut screen) = vmm.attach(AttachConsoleRequest { backlog_bytes: Some(0), position: None }).await;
    for _ in 0..(60 << 10) / line.len() {
        qemu.put(&mut client, line).await;
        screen.seen.clear();
        screen.until(line).await;
    }
    let old = folder.path().join("state/vmm").join(INSTANCE).join("console.log.1");
    assert!(old.metadata().expect("it was trimmed").len() > 64 << 10);

    let mut replies = vmm.service().stream::<ReadConsole>(request(16, true)).await.expect("it answers");
    let first = replies.next().await.expect("a reply").expect("no error");
    assert_eq!(first.text, line);
    qemu.put(&mut client, "more").await;
    let mut text = String::new();
    while text != "more" {
        text += &replies.next().await.expect("a reply").expect("no error").text;
    }
    vmm.stop().await;
}
