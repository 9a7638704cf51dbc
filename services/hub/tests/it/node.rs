//! A hub in a directory of its own, and whoever speaks to it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use acp_base::{Failure, Name};
use acp_hub::{Config, Hub};
use acp_io_client::ServiceClient;
use acp_io_daemon::{Context, Daemon, Fatal};
use acp_io_varlink::{OutgoingCall, Reader, Writer};
use acp_wire_api::{
    Empty, Method,
    daemon::{ActFor, ActForRequest},
    error,
    hub::{self as api, Admitted, CreateTokenReply, CreateTokenRequest, Directory},
    principal::Principal,
};
use tokio::{net::UnixStream, sync::oneshot, time::timeout};

use crate::peer::{Peer, newcomer};

/// How long anything may take in these tests.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Larger than any reply of these tests.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// A running hub.
#[derive(Debug)]
pub(crate) struct Node {
    context: Context,
    ended: oneshot::Receiver<Result<(), Fatal>>,
}

impl Node {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, Config::default())
    }

    pub(crate) fn start_with(directory: &Path, config: Config) -> Self {
        let context = Context::for_test("hub", directory, (Hub::INTERFACES)());
        let (sender, ended) = oneshot::channel();
        let run = Hub::run(config, context.clone());
        context.tasks.spawn("daemon", async move { drop(sender.send(run.await)) });
        Self { context, ended }
    }

    /// Ends it as SIGTERM does and waits for it.
    pub(crate) async fn stop(self) {
        self.context.drain.cancel();
        self.ended.await.expect("it ends").expect("without an error");
        assert!(self.context.tasks.join(LIMIT).await, "tasks are left");
    }

    /// Waits until it gives up by itself.
    pub(crate) async fn failure(self) -> Fatal {
        let ended = timeout(LIMIT, self.ended).await;
        let fatal = ended.expect("in time").expect("it ends").expect_err("it gives up");
        self.context.drain.cancel();
        assert!(self.context.tasks.join(LIMIT).await, "tasks are left");
        fatal
    }

    /// Where it keeps what it must not forget.
    pub(crate) fn state(&self) -> PathBuf {
        self.context.paths.state.clone()
    }

    /// Every byte in its directory, as far as it is text.
    pub(crate) fn everything_kept(&self) -> String {
        let files = std::fs::read_dir(self.state()).expect("readable");
        let texts = files.map(|file| std::fs::read(file.expect("readable").path()).expect("readable"));
        texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    /// As root of this node.
    pub(crate) fn service(&self) -> ServiceClient {
        self.context.client.own("hub").deadline(LIMIT)
    }

    pub(crate) async fn call<M: Method>(&self, request: M::Request) -> Result<M::Reply, Failure> {
        self.service().call::<M>(request).await
    }

    /// A hub that has founded the log of n1, as the node's cluster service has it do.
    pub(crate) async fn founded(directory: &Path) -> Self {
        let node = Self::start(directory);
        node.found(&Peer::new("n1", 1)).await.expect("a log");
        node
    }

    pub(crate) async fn found(&self, peer: &Peer) -> Result<api::FoundReply, Failure> {
        let request = api::FoundRequest { node: peer.uid, name: valid(&peer.name), image: None };
        self.call::<api::Found>(request).await
    }

    pub(crate) async fn init(&self, peer: &Peer) -> Result<Admitted, Failure> {
        let request = api::InitClusterRequest { cluster: valid("prod"), node: peer.presents() };
        self.call::<api::InitCluster>(request).await
    }

    /// A token for so many nodes, its secret part apart.
    pub(crate) async fn token(&self, uses: u32) -> (CreateTokenReply, String) {
        let request = CreateTokenRequest { lifetime_ms: None, uses: Some(uses), no_root_key: false };
        let reply = self.call::<api::CreateToken>(request).await.expect("a token");
        let secret = secret(&reply.text);
        (reply, secret)
    }

    /// As somebody without a certificate, which is how a node comes.
    pub(crate) async fn join(&self, token: &str, peer: &Peer) -> Result<Admitted, Failure> {
        let request = api::JoinRequest { token: token.to_owned(), node: peer.presents() };
        self.acting(newcomer()).await.call::<api::Join>(request).await
    }

    /// A cluster of n1, and whoever joined it, in order.
    pub(crate) async fn with_members(directory: &Path, joining: &[&Peer]) -> (Self, Peer) {
        let node = Self::founded(directory).await;
        let first = Peer::new("n1", 1);
        node.init(&first).await.expect("a cluster");
        let (_reply, secret) = node.token(100).await;
        for peer in joining {
            node.join(&secret, peer).await.expect("it joins");
        }
        (node, first)
    }

    pub(crate) async fn directory(&self) -> Directory {
        let reply =
            self.call::<api::WatchDirectory>(api::WatchDirectoryRequest { known: None, epoch: String::new() }).await;
        reply.expect("there is a cluster").directory.expect("it comes first")
    }

    pub(crate) async fn status(&self) -> api::HubStatus {
        self.call::<api::GetStatus>(Empty {}).await.expect("status")
    }

    /// The last index that it has applied.
    pub(crate) async fn applied(&self) -> u64 {
        self.call::<api::GetQuorum>(Empty {}).await.expect("a status").applied
    }

    pub(crate) async fn nodes(&self) -> Vec<api::NodePresence> {
        self.call::<api::ListNodes>(api::NodeFilter::default()).await.expect("there is a cluster").nodes
    }

    /// A connection that speaks for a principal, as the agent's do.
    pub(crate) async fn acting(&self, principal: Principal) -> Acting {
        // The socket may not be there yet.
        self.status().await;
        Acting::at(&self.context.paths.run.join("hub.sock"), principal).await.expect("it listens")
    }
}

/// A connection that speaks for a principal.
#[derive(Debug)]
pub(crate) struct Acting {
    reader: Reader,
    writer: Writer,
}

impl Acting {
    /// Speaks for a principal at this socket.
    pub(crate) async fn at(socket: &Path, principal: Principal) -> Result<Self, Failure> {
        let stream = UnixStream::connect(socket).await.map_err(|error| Failure::unavailable(error.to_string()))?;
        let (reader, writer) = acp_io_varlink::split(stream, REPLY_BYTES_MAX, None);
        let mut acting = Self { reader, writer };
        acting.call::<ActFor>(ActForRequest { principal }).await?;
        Ok(acting)
    }

    /// The raw connection, after an upgrade was asked for.
    pub(crate) async fn upgrade<M: Method>(
        mut self,
        request: &M::Request,
    ) -> Result<acp_io_varlink::Upgraded, Failure> {
        let call = OutgoingCall { method: M::NAME, parameters: request, more: false, upgrade: true, context: None };
        self.writer.send(&call, &[]).await.map_err(|error| Failure::unavailable(error.to_string()))?;
        self.next::<M>().await?;
        Ok(self.reader.into_upgraded(self.writer))
    }

    pub(crate) async fn call<M: Method>(&mut self, request: M::Request) -> Result<M::Reply, Failure> {
        self.send::<M>(&request, false).await;
        self.next::<M>().await.map(|(reply, _continues)| reply)
    }

    /// The raw connection, for whoever is carried on it.
    pub(crate) fn into_raw(self) -> acp_io_varlink::Upgraded {
        self.reader.into_upgraded(self.writer)
    }

    /// Asks for something that is answered many times.
    pub(crate) async fn stream<M: Method>(mut self, request: &M::Request) -> Self {
        self.send::<M>(request, true).await;
        self
    }

    /// Asks for the directory and whatever follows.
    pub(crate) async fn watch(mut self, known: Option<u64>) -> Self {
        self.send::<api::WatchDirectory>(&api::WatchDirectoryRequest { known, epoch: String::new() }, true).await;
        self
    }

    /// The next directory and whether more follows; what only says that the hub is there is passed over.
    pub(crate) async fn next_directory(&mut self) -> Result<(Directory, bool), Failure> {
        loop {
            if let (api::WatchDirectoryReply { directory: Some(directory), .. }, continues) =
                self.next::<api::WatchDirectory>().await?
            {
                return Ok((directory, continues));
            }
        }
    }

    async fn send<M: Method>(&mut self, request: &M::Request, more: bool) {
        let call = OutgoingCall { method: M::NAME, parameters: request, more, upgrade: false, context: None };
        // A hub that is gone shows when its answer is waited for.
        drop(self.writer.send(&call, &[]).await);
    }

    /// The next reply and whether more follows.
    pub(crate) async fn next<M: Method>(&mut self) -> Result<(M::Reply, bool), Failure> {
        let received = timeout(LIMIT, self.reader.reply()).await.expect("in time");
        let (reply, _fds) = received.map_err(|error| Failure::unavailable(error.to_string()))?;
        let text = reply.parameters.as_ref().map_or("{}", |parameters| parameters.get());
        match &reply.error {
            Some(name) => Err(error::to_failure(name, &serde_json::from_str(text).expect("JSON"))),
            None => Ok((serde_json::from_str(text).expect("a reply"), reply.continues)),
        }
    }
}

/// The secret part of a token.
pub(crate) fn secret(token: &str) -> String {
    token.rsplit('.').next().expect("it has parts").to_owned()
}

pub(crate) fn valid(name: &str) -> Name {
    name.parse().expect("a test's name is valid")
}

pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}
