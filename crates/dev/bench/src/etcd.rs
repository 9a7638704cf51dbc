//! etcd as Debian builds it: a cluster of three, one member in the namespace of each node of ours, on the same disk, asked as its
//! own clients ask: gRPC over HTTP/2, on connections that stay.
//!
//! Deliberately not here: a protocol compiler. Three messages of two fields each are written by hand.

use std::{
    convert::Infallible,
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{
    block_on,
    cluster::Cluster,
    http::{Place, Question},
    programs::{Peers, Running},
};

/// Members, as many as we have voters.
pub(crate) const MEMBERS: usize = 3;
/// Where members listen for clients and for each other.
const CLIENTS: u16 = 2_379;
const OTHERS: u16 = 2_380;
/// How long the members may take until one of them leads.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The members.
pub(crate) struct Etcd<'a> {
    peers: &'a Peers,
    cluster: &'a Cluster,
    members: Vec<Option<Running>>,
}

impl<'a> Etcd<'a> {
    /// Starts three members beside our first three nodes, and waits until they answer.
    pub(crate) fn start(peers: &'a Peers, cluster: &'a Cluster) -> Result<Self> {
        let mut etcd = Self { peers, cluster, members: Vec::new() };
        for number in 1..=MEMBERS {
            etcd.members.push(Some(etcd.run(number)?));
        }
        etcd.leader()?;
        Ok(etcd)
    }

    fn run(&self, number: usize) -> Result<Running> {
        let dir = self.dir(number);
        std::fs::create_dir_all(&dir)?;
        let url =
            |number: usize, port: u16| Ok::<_, anyhow::Error>(format!("http://{}:{port}", self.address(number)?.ip()));
        let all: Result<Vec<String>> =
            (1..=MEMBERS).map(|number| Ok(format!("m{number}={}", url(number, OTHERS)?))).collect();
        let mut command = self.peers.command("usr/bin/etcd")?;
        let name = format!("m{number}");
        command.arg("--data-dir").arg(dir.join("data")).args(["--name", &name, "--logger", "zap"]);
        command.args([
            "--listen-client-urls",
            &url(number, CLIENTS)?,
            "--advertise-client-urls",
            &url(number, CLIENTS)?,
        ]);
        command.args(["--listen-peer-urls", &url(number, OTHERS)?]);
        command.args(["--initial-advertise-peer-urls", &url(number, OTHERS)?, "--initial-cluster", &all?.join(",")]);
        let log = File::options().create(true).append(true).open(dir.join("log"))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.cluster.member(number)?.layout.namespace().run(|| Running::start(&mut command))
    }

    fn dir(&self, number: usize) -> PathBuf {
        self.cluster.dir().join(format!("etcd-{number}"))
    }

    /// Where a member answers clients.
    pub(crate) fn address(&self, number: usize) -> Result<SocketAddr> {
        Ok((self.cluster.member(number)?.address(), CLIENTS).into())
    }

    /// The member that leads.
    pub(crate) fn leader(&self) -> Result<usize> {
        wait_for("a leader of etcd", START_LIMIT, || {
            (1..=MEMBERS)
                .find(|number| self.leads(*number).unwrap_or_default())
                .ok_or_else(|| "none says that it leads".to_owned())
        })
    }

    fn leads(&self, number: usize) -> Result<bool> {
        let question = Question::post(Place::Tcp(self.address(number)?), "/v3/maintenance/status", "{}");
        let answer = self.cluster.member(1)?.layout.namespace().run(|| block_on(question.ask()))?;
        let body = answer.split_once("\r\n\r\n").context("an answer has a body")?.1;
        let json = body.get(body.find('{').context("JSON")?..=body.rfind('}').context("JSON")?).context("JSON")?;
        let status: Value = serde_json::from_str(json).with_context(|| format!("no JSON: {body:?}"))?;
        Ok(status["leader"].is_string() && status["leader"] == status["header"]["member_id"])
    }

    /// Kills a member.
    pub(crate) fn kill(&mut self, number: usize) {
        self.members[number - 1] = None;
    }

    /// Starts a member again.
    pub(crate) fn start_again(&mut self, number: usize) -> Result<()> {
        self.members[number - 1] = Some(self.run(number)?);
        Ok(())
    }
}

/// A connection to a member.
pub(crate) struct Client {
    sender: http2::SendRequest<Once>,
    authority: String,
}

impl Client {
    /// Connects, from where the caller's runtime is.
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("no way to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        // It ends with the sender.
        drop(tokio::task::spawn_local(connection));
        Ok(Self { sender, authority: address.to_string() })
    }

    /// Writes a value.
    pub(crate) async fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let message = [field(1, key), field(2, value)].concat();
        self.call("Put", &message).await
    }

    /// Reads a value: with a round to the majority, or from what this member has.
    pub(crate) async fn range(&mut self, key: &[u8], is_serializable: bool) -> Result<()> {
        // Field 7 of RangeRequest, a boolean.
        let serializable = if is_serializable { vec![7 << 3, 1] } else { Vec::new() };
        self.call("Range", &[field(1, key), serializable].concat()).await
    }

    async fn call(&mut self, method: &str, message: &[u8]) -> Result<()> {
        let uri = format!("http://{}/etcdserverpb.KV/{method}", self.authority);
        let length = u32::try_from(message.len())?.to_be_bytes();
        let framed = [&[0][..], &length, message].concat();
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        self.sender.ready().await?;
        let mut reply = self.sender.send_request(request.body(Once::whole(framed.into()))?).await?;
        let mut status = reply.headers().get("grpc-status").cloned();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(reply.body_mut()).poll_frame(cx)).await {
            if let Some(trailers) = frame?.trailers_ref() {
                status = trailers.get("grpc-status").cloned();
            }
        }
        let status = status.with_context(|| format!("{method} was answered without a status"))?;
        ensure!(status == "0", "{method} was answered with the status {status:?}");
        Ok(())
    }
}

/// A watch on one key.
pub(crate) struct Watch {
    reply: hyper::Response<hyper::body::Incoming>,
    read: Vec<u8>,
    _sender: http2::SendRequest<Once>,
}

impl Watch {
    /// Opens it, from where the caller's runtime is, and waits until the member says that it stands.
    pub(crate) async fn open(address: SocketAddr, key: &[u8]) -> Result<Self> {
        let mut client = Client::connect(address).await?;
        // WatchRequest { create_request { key } }
        let message = field(1, &field(1, key));
        let length = u32::try_from(message.len())?.to_be_bytes();
        let framed = [&[0][..], &length, &message].concat();
        let uri = format!("http://{}/etcdserverpb.Watch/Watch", client.authority);
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        client.sender.ready().await?;
        // The request does not end as long as the watch shall stand.
        let reply = client.sender.send_request(request.body(Once::open(framed.into()))?).await?;
        let mut watch = Self { reply, read: Vec::new(), _sender: client.sender };
        watch.next().await?;
        Ok(watch)
    }

    /// Waits for the next message: an event, since one put is one message.
    pub(crate) async fn next(&mut self) -> Result<()> {
        loop {
            if let Some(&[_compressed, a, b, c, d]) = self.read.first_chunk::<5>() {
                let whole = 5 + usize::try_from(u32::from_be_bytes([a, b, c, d]))?;
                if self.read.len() >= whole {
                    self.read.drain(..whole);
                    return Ok(());
                }
            }
            let frame = std::future::poll_fn(|cx| Pin::new(self.reply.body_mut()).poll_frame(cx)).await;
            let frame = frame.context("the watch ended")??;
            self.read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }
}

/// A field of bytes as protobuf has it: number and kind in one byte, the length, the bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).unwrap_or_default());
    out.extend_from_slice(bytes);
    out
}

/// A body of one piece, after which it ends or stays open.
struct Once {
    piece: Option<Bytes>,
    stays_open: bool,
}

impl Once {
    const fn whole(piece: Bytes) -> Self {
        Self { piece: Some(piece), stays_open: false }
    }

    const fn open(piece: Bytes) -> Self {
        Self { piece: Some(piece), stays_open: true }
    }
}

impl Body for Once {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.piece.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.stays_open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_none() && !self.stays_open
    }
}

/// Runs this inside the network of the first node, with tasks of its own thread.
pub(crate) fn within<T: Send>(cluster: &Cluster, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    cluster.member(1)?.layout.namespace().run(|| {
        let local = tokio::task::LocalSet::new();
        block_on(async { local.run_until(work()).await })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_protobuf_has_them() {
        assert_eq!(field(1, b"ab"), [0x0a, 2, b'a', b'b']);
        let long = field(2, &[7; 300]);
        assert_eq!((&long[..3], long.len()), (&[0x12, 0xac, 0x02][..], 303));
    }
}
