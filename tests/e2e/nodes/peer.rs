//! Somebody at a node's door: with the files that a node has, with forged ones, or with none.
//!
//! Deliberately not here: an agent. What is sent is exactly what a case says, which no agent of ours would.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use acp_base::Uid;
use acp_dev_lab::Member;
use acp_io_daemon::Tasks;
use acp_io_link::{Class, Conversation, Dialer, Link, LinkError, Opening};
use acp_io_pki::{Certificate, Held, NodeKey, Trust};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{client::TlsStream, rustls::pki_types::CertificateDer};

use crate::cluster::{AGENT_PORT, Answer, At, Cluster, answer};

/// How long a door may take to answer: longer than any limit of its own.
pub(super) const DOOR_LIMIT: Duration = Duration::from_secs(15);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who somebody says to be.
pub(super) struct Peer {
    pub(super) uid: Uid,
    pub(super) key: NodeKey,
    held: Held,
    trust: Trust,
}

/// What a node keeps about its membership.
pub(super) struct Files {
    pub(super) node: Uid,
    pub(super) certificate: Certificate,
    pub(super) authority: CertificateDer<'static>,
    pub(super) directory: Value,
}

impl Files {
    /// Those of a member.
    pub(super) fn of(member: &Member) -> Result<Self> {
        let dir = member.layout.state().join("agent");
        let record = json_of(&dir.join("member.json"))?;
        let der = bytes(&record["certificate"])?;
        let authority = bytes(&record["directory"]["authority"])?;
        let certificate = Certificate::read(der.into())?;
        let node = certificate.identity.node;
        Ok(Self { node, certificate, authority: authority.into(), directory: record["directory"].clone() })
    }
}

fn json_of(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn bytes(digits: &Value) -> Result<Vec<u8>> {
    digits.as_str().and_then(acp_base::from_hex).with_context(|| format!("no hexadecimal digits: {digits}"))
}

impl Peer {
    /// Whoever has the files of this node.
    pub(super) fn with_files_of(member: &Member) -> Result<Self> {
        let path = member.layout.state().join("agent/node.key");
        let key = NodeKey::open(&path)?.with_context(|| format!("there is no {}", path.display()))?;
        let files = Files::of(member)?;
        Self::new(key, files.certificate, &files.authority)
    }

    /// Whoever shows this certificate of this key, and accepts those of this authority.
    pub(super) fn new(key: NodeKey, certificate: Certificate, authority: &CertificateDer<'static>) -> Result<Self> {
        let cluster = certificate.identity.cluster;
        Self::showing(key, certificate, cluster, authority)
    }

    /// The same for a certificate that names whatever it likes: it accepts the nodes of this cluster.
    pub(super) fn showing(
        key: NodeKey,
        certificate: Certificate,
        cluster: Uid,
        authority: &CertificateDer<'static>,
    ) -> Result<Self> {
        let uid = certificate.identity.node;
        let held = Held::new(&key, certificate, authority)?;
        Ok(Self { uid, key, held, trust: Trust::new(cluster, authority.clone())? })
    }

    /// A connection of this class to a node, from where the caller's runtime is.
    pub(super) async fn dial(&self, to: &Door, class: Class) -> Result<TlsStream<TcpStream>, LinkError> {
        Dialer::new(self.trust.clone(), self.held.clone()).dial(to.address, to.node, class).await
    }

    /// A link of this class to a node.
    pub(super) async fn link(&self, to: &Door, class: Class) -> Result<Link, LinkError> {
        Link::over(self.dial(to, class).await?, &Tasks::default()).await
    }
}

/// Where a node is dialled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    pub(super) node: Uid,
}

impl Door {
    pub(super) fn of(cluster: &Cluster, at: At) -> Result<Self> {
        let member = cluster.member(at);
        Ok(Self { address: (member.address(), AGENT_PORT).into(), node: Files::of(member)?.node })
    }
}

/// Runs this inside a node's network, with a limit that no case reaches.
pub(super) fn inside<T: Send>(cluster: &Cluster, at: At, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    cluster.layout(at).namespace().run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    })
}

/// The opening of a conversation with a service on behalf of nobody but the peer.
pub(super) fn opening(service: &str, context: Value) -> Opening {
    Opening { service: service.to_owned(), instance: None, context }
}

/// Opens a conversation; the door's own refusal is an answer, too.
pub(super) async fn converse(link: &Link, opening: &Opening) -> Result<Result<Conversation, LinkError>> {
    timeout(DOOR_LIMIT, link.open(opening, DOOR_LIMIT)).await.context("the door does not answer")
}

/// Calls a method and reads the first reply.
pub(super) async fn call<S>(stream: &mut S, method: &str, parameters: Value) -> Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = serde_json::to_vec(&json!({ "method": method, "parameters": parameters }))?;
    message.push(0);
    let exchange = async {
        stream.write_all(&message).await?;
        stream.flush().await?;
        let mut reply = Vec::new();
        loop {
            match stream.read_u8().await? {
                0 => return Ok(reply),
                byte => reply.push(byte),
            }
            ensure!(reply.len() <= ANSWER_BYTES_MAX, "the answer is too long");
        }
    };
    let reply = timeout(DOOR_LIMIT, exchange).await.context("no answer")?.with_context(|| method.to_owned())?;
    Ok(answer(serde_json::from_slice(&reply).context("the answer is no JSON")?))
}
