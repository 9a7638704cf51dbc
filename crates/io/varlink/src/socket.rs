//! The two halves of a connection.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::net::RecvFlags;
use serde::Serialize;
use tokio::{io::Interest, net::UnixStream};
use zlink::{
    connection::{
        PassedCredentials, ReadConnection,
        socket::{self, ReadHalf as _, ReadResult},
    },
    unix_utils,
};

use crate::{
    IncomingCall, IncomingReply, Upgraded,
    message::{RawCall, RawReply},
};

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user id at the time of connecting.
    pub uid: u32,
    /// The process id at the time of connecting; 0 if it lies in another pid namespace.
    pub pid: u32,
}

/// Why no further message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed the connection between two messages or within one.
    #[error("the connection was closed")]
    Closed,
    /// A message is larger than the bound given, in bytes.
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
    /// A message is no JSON, or not of the shape of a call or reply. The messages after it can still be read.
    #[error("a message cannot be read: {0}")]
    Malformed(String),
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

/// Splits a connected stream; the reader refuses messages above `message_bytes_max`.
pub fn split(stream: UnixStream, message_bytes_max: usize) -> (Reader, Writer) {
    let stream = Arc::new(stream);
    let detached = Arc::new(AtomicBool::new(false));
    let half =
        Half { stream: Arc::clone(&stream), detached: Arc::clone(&detached), message_bytes_max, pending_bytes: 0 };
    let (read, _write) = zlink::Connection::new(half).split();
    (
        Reader { inner: read, stream: Arc::clone(&stream), detached, message_bytes_max },
        Writer { stream, buffer: Vec::new() },
    )
}

/// Receives messages.
#[derive(Debug)]
pub struct Reader {
    inner: ReadConnection<Half>,
    stream: Arc<UnixStream>,
    detached: Arc<AtomicBool>,
    message_bytes_max: usize,
}

impl Reader {
    /// The next call and the file descriptors that came with it. Cancel-safe.
    pub async fn call(&mut self) -> Result<(IncomingCall, Vec<OwnedFd>), ReadError> {
        let max = self.message_bytes_max;
        let (call, fds) = self.inner.receive_call::<RawCall<'_>>().await.map_err(|error| read_error(error, max))?;
        let (more, oneway, upgrade) = (call.more(), call.oneway(), call.upgrade());
        let raw = call.method();
        let call = IncomingCall {
            method: raw.method.to_string(),
            parameters: raw.parameters.map(ToOwned::to_owned),
            more,
            oneway,
            upgrade,
            context: raw.context.clone().unwrap_or_default(),
        };
        Ok((call, fds))
    }

    /// The next reply and the file descriptors that came with it. Cancel-safe.
    pub async fn reply(&mut self) -> Result<(IncomingReply, Vec<OwnedFd>), ReadError> {
        let max = self.message_bytes_max;
        // A reply has the same framing as a call, and zlink's own reading of replies would buffer it untyped first.
        let (raw, fds) = self.inner.receive_call::<RawReply<'_>>().await.map_err(|error| read_error(error, max))?;
        let raw = raw.method();
        let reply = IncomingReply {
            error: raw.error.as_deref().map(str::to_owned),
            parameters: raw.parameters.map(ToOwned::to_owned),
            continues: raw.continues,
        };
        Ok((reply, fds))
    }

    /// Returns when the peer has closed the connection or sent something unasked.
    pub async fn closed(&self) {
        // The runtime may remember a readiness that was used up: only a look into the socket tells.
        while self.stream.readable().await.is_ok() {
            let look = || {
                let mut byte = [0_u8];
                rustix::net::recv(&*self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT)
                    .map_err(io::Error::from)
            };
            match self.stream.try_io(Interest::READABLE, look) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> io::Result<Peer> {
        let credentials = self.stream.peer_cred()?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        Ok(Peer { uid: credentials.uid(), pid })
    }

    /// Turns the connection into raw bytes, beginning with those that the peer sent early.
    pub async fn into_upgraded(self, writer: Writer) -> io::Result<Upgraded> {
        self.detached.store(true, Ordering::Relaxed);
        let mut rewind = self.inner.into_read_half();
        let mut early = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let read = rewind.read(&mut chunk).await.map_err(io::Error::other)?.bytes_read();
            if read == 0 {
                break;
            }
            early.extend_from_slice(&chunk[..read]);
        }
        drop((rewind, writer));
        let stream = Arc::into_inner(self.stream).expect("reader and writer were the only owners");
        Ok(Upgraded::new(early, stream))
    }
}

fn read_error(error: zlink::Error, message_bytes_max: usize) -> ReadError {
    match error {
        zlink::Error::UnexpectedEof => ReadError::Closed,
        zlink::Error::BufferOverflow => ReadError::TooLarge(message_bytes_max),
        zlink::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => ReadError::Closed,
        zlink::Error::Io(error) => ReadError::Io(error),
        other => ReadError::Malformed(other.to_string()),
    }
}

/// Sends messages.
#[derive(Debug)]
pub struct Writer {
    stream: Arc<UnixStream>,
    buffer: Vec<u8>,
}

/// How large the writer's buffer may stay between messages, in bytes: small messages reuse it, a large one is given back.
const WRITE_BUFFER_KEPT_MAX: usize = 64 * 1024;

impl Writer {
    /// Sends one message with the given file descriptors. Not cancel-safe: a message whose sending is given up leaves the
    /// connection useless.
    pub async fn send<T: Serialize>(&mut self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, message).map_err(io::Error::other)?;
        self.buffer.push(0);
        let mut sent = 0;
        while sent < self.buffer.len() {
            let passed = if sent == 0 { fds } else { &[] };
            let rest = &self.buffer[sent..];
            self.stream.writable().await?;
            match self.stream.try_io(Interest::WRITABLE, || unix_utils::sendmsg(&*self.stream, rest, passed, None)) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if self.buffer.capacity() > WRITE_BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
        Ok(())
    }
}

/// Both halves that zlink asks for: reading counts the bytes since the last message's end.
#[derive(Debug)]
struct Half {
    stream: Arc<UnixStream>,
    detached: Arc<AtomicBool>,
    message_bytes_max: usize,
    pending_bytes: usize,
}

impl socket::Socket for Half {
    type ReadHalf = Self;
    type WriteHalf = NoWriter;

    const CAN_TRANSFER_FDS: bool = true;

    fn split(self) -> (Self, NoWriter) {
        (self, NoWriter)
    }
}

impl socket::ReadHalf for Half {
    async fn read(&mut self, buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        if self.detached.load(Ordering::Relaxed) {
            return Ok(ReadResult::new(0));
        }
        loop {
            match self.stream.try_io(Interest::READABLE, || unix_utils::recvmsg(&*self.stream, buffer)) {
                Ok(result) => {
                    self.count(&buffer[..result.bytes_read()])?;
                    return Ok(result);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.readable().await?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Half {
    fn count(&mut self, received: &[u8]) -> zlink::Result<()> {
        self.pending_bytes = match received.iter().rposition(|byte| *byte == 0) {
            Some(end) => received.len() - end - 1,
            None => self.pending_bytes + received.len(),
        };
        if self.pending_bytes > self.message_bytes_max { Err(zlink::Error::BufferOverflow) } else { Ok(()) }
    }
}

impl AsFd for Half {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl socket::UnixSocket for Half {}

/// zlink's writer is not used.
#[derive(Debug)]
struct NoWriter;

impl socket::WriteHalf for NoWriter {
    async fn write(
        &mut self,
        _buffer: &[u8],
        _fds: &[impl AsFd],
        _credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        Err(zlink::Error::Io(io::Error::other("messages are written by acp_io_varlink::Writer")))
    }
}
