//! Nodes for the tests: a key, a certificate, a door, and a handler that echoes.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use acp_base::{Code, Failure, Uid};
use acp_io_daemon::Tasks;
use acp_io_link::{
    Accepted, Class, Conversation, Dialer, Gate, Handler, Link, LinkError, Opening, Spliced, serve, splice,
};
use acp_io_pki::{Authority, Held, NodeKey, Trust, Validity};
use tokio::{
    io::{DuplexStream, duplex},
    net::TcpListener,
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// How long anything here may take beside other builds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The address from which the tests call.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A cluster with an authority.
pub(crate) struct Cluster {
    pub(crate) authority: Authority,
    pub(crate) uid: Uid,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new(uid: u128) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let uid = Uid::from_u128(uid);
        let authority = Authority::ensure(dir.path(), uid, rustls::pki_types::UnixTime::now()).expect("made");
        Self { authority, uid, _dir: dir }
    }

    /// A node that takes connections.
    pub(crate) async fn node(&self, uid: u128) -> Node {
        let (uid, key) = (Uid::from_u128(uid), NodeKey::generate().expect("a key"));
        let validity = Validity::of_node(rustls::pki_types::UnixTime::now());
        let certificate = self.authority.sign(&key.request().expect("made"), uid, validity).expect("signed");
        let held = Held::new(&key, certificate, self.authority.certificate()).expect("its own key");
        let trust = Trust::new(self.uid, self.authority.certificate().clone()).expect("an authority");
        let listener = TcpListener::bind((HERE, 0)).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let gate = Gate::new(&trust, &held).expect("configured");
        Node { uid, held, trust, gate, listener, address, tasks: Tasks::default() }
    }
}

/// A node at its door.
pub(crate) struct Node {
    pub(crate) uid: Uid,
    pub(crate) held: Held,
    pub(crate) trust: Trust,
    pub(crate) gate: Gate,
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
    pub(crate) tasks: Tasks,
}

impl Node {
    pub(crate) fn dialer(&self) -> Dialer {
        Dialer::new(self.trust.clone(), self.held.clone())
    }

    /// Takes the next connection through the door.
    pub(crate) async fn admit(&self) -> Result<Accepted, LinkError> {
        let (tcp, from) = self.listener.accept().await.expect("a connection");
        self.gate.admit(tcp, from.ip()).await
    }

    /// Takes every connection from now on and answers conversations with `service`. What the door said of each is told.
    pub(crate) fn open_door(self, service: Arc<Service>) -> (Open, mpsc::Receiver<Result<Class, LinkError>>) {
        let (told, doors) = mpsc::channel(1_024);
        let drain = CancellationToken::new();
        let open = Open { uid: self.uid, address: self.address, gate: self.gate.clone(), drain: drain.clone() };
        let tasks = self.tasks.clone();
        tasks.clone().spawn("door", async move {
            while let Ok((tcp, from)) = self.listener.accept().await {
                let (gate, told, service) = (self.gate.clone(), told.clone(), service.clone());
                let (inner, drain) = (tasks.clone(), drain.clone());
                tasks.spawn("caller", async move {
                    let admitted = gate.admit(tcp, from.ip()).await;
                    match admitted {
                        Ok(accepted) => {
                            drop(told.send(Ok(accepted.class)).await);
                            // How it ends is the other side's business here.
                            drop(serve(accepted.stream, service, inner, drain).await);
                        }
                        Err(error) => drop(told.send(Err(error)).await),
                    }
                });
            }
        });
        (open, doors)
    }
}

/// A node whose door is open.
pub(crate) struct Open {
    pub(crate) uid: Uid,
    pub(crate) address: SocketAddr,
    pub(crate) gate: Gate,
    pub(crate) drain: CancellationToken,
}

/// A link for calls from one node to another, with the caller's tasks.
pub(crate) async fn link(from: &Node, to: &Open) -> Link {
    let stream = from.dialer().dial(to.address, to.uid, Class::Calls).await.expect("dialled");
    Link::over(stream, &from.tasks).await.expect("linked")
}

pub(crate) fn to(service: &str) -> Opening {
    Opening { service: service.to_owned(), instance: None, context: serde_json::Value::Null }
}

/// Services of the tests: `echo`, `silent` (never reads nor writes), `brief` (says a word and is gone), and no others.
#[derive(Debug, Default)]
pub(crate) struct Service {
    /// Conversations that run.
    pub(crate) running: AtomicUsize,
    /// What the last spliced conversation came to.
    pub(crate) ended: std::sync::Mutex<Vec<Result<Spliced, std::io::ErrorKind>>>,
}

impl Handler for Service {
    type Target = String;

    async fn open(&self, opening: Opening) -> Result<(String, serde_json::Value), Failure> {
        match opening.service.as_str() {
            "echo" | "silent" | "brief" => Ok((opening.service, serde_json::json!({ "taken": "é" }))),
            other => Err(Failure::new(Code::NotFound, format!("there is no service {other} — none"))),
        }
    }

    async fn run(&self, target: String, conversation: Conversation) {
        self.running.fetch_add(1, Ordering::SeqCst);
        match target.as_str() {
            "silent" => std::future::pending::<()>().await,
            service => {
                let (near, far) = duplex(1 << 16);
                let (spliced, ()) = tokio::join!(splice(conversation, near), play(service, far));
                self.ended.lock().expect("no panic").push(spliced.map_err(|error| error.kind()));
            }
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A local service at its end of a socket.
async fn play(service: &str, mut socket: DuplexStream) {
    use tokio::io::AsyncWriteExt as _;
    if service == "brief" {
        socket.write_all(b"bye").await.expect("heard");
        return;
    }
    let (mut reader, mut writer) = tokio::io::split(socket);
    // It ends with the caller.
    drop(tokio::io::copy(&mut reader, &mut writer).await);
    drop(writer.shutdown().await);
}
