//! A vmm that runs inside the test.

use std::{path::Path, time::Duration};

use acp_io_client::{Client, Replies, ServiceClient, Upgraded};
use acp_io_daemon::{Context, Daemon};
use acp_vmm::{Vmm, config::Config};
use acp_wire_api::vmm::{AttachConsole, AttachConsoleReply, AttachConsoleRequest, MachineState, MachineStatus, Watch};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
    time::timeout,
};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
pub(crate) const INSTANCE: &str = "0123";

/// A daemon of one system, in a folder that outlives it.
pub(crate) struct TestVmm {
    context: Context,
    ended: oneshot::Receiver<()>,
}

impl TestVmm {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut context = Context::for_test(Vmm::NOUN, folder, Vmm::INTERFACES());
        context.instance = Some(INSTANCE.into());
        context.paths.state.push(INSTANCE);
        std::fs::create_dir_all(&context.paths.state).expect("a state folder");
        std::fs::create_dir_all(folder.join("vmm").join(INSTANCE)).expect("a run folder");
        let (running, ended) = oneshot::channel::<()>();
        let own = context.clone();
        let config = Config { console_ring_bytes: 8192, console_log_bytes_max: 64 << 10, ..Config::default() };
        context.tasks.spawn("vmm", async move {
            Vmm::run(config, own).await.expect("the vmm runs");
            drop(running);
        });
        Self { context, ended }
    }

    pub(crate) fn service(&self) -> ServiceClient {
        Client::new(&self.context.paths.run).instance(Vmm::NOUN, INSTANCE)
    }

    pub(crate) async fn watch(&self) -> Machine {
        Machine { replies: self.service().stream::<Watch>(acp_wire_api::Empty {}).await.expect("the watch begins") }
    }

    pub(crate) async fn attach(&self, request: AttachConsoleRequest) -> (AttachConsoleReply, Screen) {
        let (reply, io) = self.service().upgrade::<AttachConsole>(request).await.expect("attached");
        (reply, Screen { io, seen: String::new() })
    }

    pub(crate) async fn stop(self) {
        self.context.drain.cancel();
        self.ended.await.expect_err("the sender is dropped, not used");
        assert!(self.context.tasks.join(LIMIT).await, "every task ends with the drain");
        let socket = self.context.paths.run.join(Vmm::NOUN).join(format!("{INSTANCE}.sock"));
        std::fs::remove_file(socket).expect("the next vmm binds it anew");
    }
}

/// What the watch says.
pub(crate) struct Machine {
    replies: Replies<Watch>,
}

impl Machine {
    /// Waits for a status like this.
    pub(crate) async fn until(&mut self, what: &str, is_it: impl Fn(&MachineStatus) -> bool) -> MachineStatus {
        let mut last = None;
        let waiting = async {
            loop {
                let status = self.replies.next().await.expect("the watch goes on").expect("no error");
                if is_it(&status) {
                    return status;
                }
                last = Some(status);
            }
        };
        let waited = timeout(LIMIT, waiting).await;
        waited.unwrap_or_else(|_elapsed| panic!("never {what}; last: {last:?}"))
    }

    pub(crate) async fn until_state(&mut self, state: MachineState) -> MachineStatus {
        self.until(&format!("{state:?}"), |status| status.state == state).await
    }
}

/// An attached console.
pub(crate) struct Screen {
    io: Upgraded,
    pub(crate) seen: String,
}

impl Screen {
    /// Waits until the screen shows this text.
    pub(crate) async fn until(&mut self, text: &str) {
        let mut chunk = [0; 4096];
        while !self.seen.contains(text) {
            let count = timeout(LIMIT, self.io.read(&mut chunk)).await;
            let count = count.unwrap_or_else(|_elapsed| panic!("never {text:?}; last: {:?}", self.seen));
            let count = count.expect("the console can be read");
            assert!(count > 0, "the console ended; last: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    }

    pub(crate) async fn until_end(&mut self) {
        let mut rest = Vec::new();
        timeout(LIMIT, self.io.read_to_end(&mut rest)).await.expect("it ends").expect("it can be read");
        self.seen.push_str(&String::from_utf8_lossy(&rest));
    }

    pub(crate) async fn type_in(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.expect("the console takes input");
    }
}
