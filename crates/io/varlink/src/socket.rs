//! The two halves of a connection.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use tokio::{
    io::Interest,
    net::UnixStream,
    time::{Instant, timeout_at},
};

use crate::{
    Account, IncomingCall, IncomingReply, Purpose, Upgraded,
    frames::{DESCRIPTORS_MAX, Frames, Overflow},
};

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user id at the time of connecting.
    pub uid: u32,
    /// The process id at the time of connecting; 0 if it lies in another pid namespace.
    pub pid: u32,
}

impl Peer {
    /// Who is at the other end of this stream.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
        Ok(Self { uid: credentials.uid(), pid })
    }
}

/// How long the rest of a message may take once its first bytes are here. Ours are written in one go; what takes longer
/// only occupies memory.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(10);

/// Why no further message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed the connection between two messages or within one.
    #[error("the connection was closed")]
    Closed,
    /// A message is larger than the bound given, in bytes.
    #[error("a message is larger than {0} bytes")]
    TooLarge(usize),
    /// More descriptors came with a message than the kernel passes at once.
    #[error("more than {DESCRIPTORS_MAX} descriptors came with one message")]
    TooManyDescriptors,
    /// A message was begun and not finished in time.
    #[error("a message was begun and not finished within {} s", MESSAGE_TIME_MAX.as_secs())]
    TooSlow,
    /// A message is no JSON, or not of the shape of a call or reply. The messages after it can still be read.
    #[error("a message cannot be read: {0}")]
    Malformed(String),
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

impl From<Overflow> for ReadError {
    fn from(overflow: Overflow) -> Self {
        match overflow {
            Overflow::Bytes(max) => Self::TooLarge(max),
            Overflow::Descriptors => Self::TooManyDescriptors,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::ConnectionReset { Self::Closed } else { Self::Io(error) }
    }
}

/// Splits a connected stream; the reader refuses messages above `message_bytes_max`. With an account, what the halves hold
/// beyond a few KiB counts there.
pub fn split(stream: UnixStream, message_bytes_max: usize, account: Option<Arc<Account>>) -> (Reader, Writer) {
    let stream = Arc::new(stream);
    let reader = Reader {
        stream: Arc::clone(&stream),
        frames: Frames::new(message_bytes_max),
        begun: None,
        held: Held::new(account.clone(), Purpose::Receiving),
    };
    let held = Held::new(account, Purpose::Sending);
    (reader, Writer { stream, buffer: Vec::new(), is_midway: false, held })
}

/// What one half holds, said to the account when it changes.
#[derive(Debug)]
struct Held {
    account: Option<Arc<Account>>,
    purpose: Purpose,
    bytes: usize,
}

impl Held {
    fn new(account: Option<Arc<Account>>, purpose: Purpose) -> Self {
        Self { account, purpose, bytes: 0 }
    }

    fn set(&mut self, bytes: usize) {
        if bytes != self.bytes {
            self.bytes = bytes;
            if let Some(account) = &self.account {
                account.hold(self.purpose, bytes);
            }
        }
    }
}

/// Receives messages.
#[derive(Debug)]
pub struct Reader {
    stream: Arc<UnixStream>,
    frames: Frames,
    /// Since when the rest of a message is waited for.
    begun: Option<Instant>,
    held: Held,
}

impl Reader {
    /// The next call and the file descriptors that came with it. Cancel-safe.
    pub async fn call(&mut self) -> Result<(IncomingCall, Vec<OwnedFd>), ReadError> {
        self.message(IncomingCall::decode).await
    }

    /// The next reply and the file descriptors that came with it. Cancel-safe.
    pub async fn reply(&mut self) -> Result<(IncomingReply, Vec<OwnedFd>), ReadError> {
        self.message(IncomingReply::decode).await
    }

    /// Returns when a whole message can be taken without waiting. Cancel-safe.
    pub async fn arrival(&mut self) -> Result<(), ReadError> {
        while !self.frames.has_message() {
            self.receive().await?;
        }
        Ok(())
    }

    /// Whether a whole message can be taken without waiting.
    pub fn has_message(&mut self) -> bool {
        self.frames.has_message()
    }

    async fn message<T>(
        &mut self,
        decode: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<(T, Vec<OwnedFd>), ReadError> {
        let (range, descriptors) = loop {
            match self.frames.take() {
                Some(message) => break message,
                None => self.receive().await?,
            }
        };
        let decoded = decode(self.frames.bytes(range)).map_err(ReadError::Malformed);
        self.frames.settle();
        self.begun = None;
        self.held.set(self.frames.held());
        Ok((decoded?, descriptors))
    }

    /// Receives something, after waiting for it if need be.
    async fn receive(&mut self) -> Result<(), ReadError> {
        while !self.try_receive()? {
            if !self.frames.is_midway() {
                self.stream.readable().await?;
                continue;
            }
            let begun = *self.begun.get_or_insert_with(Instant::now);
            match timeout_at(begun + MESSAGE_TIME_MAX, self.stream.readable()).await {
                Ok(readable) => readable?,
                Err(_elapsed) => return Err(ReadError::TooSlow),
            }
        }
        Ok(())
    }

    /// Receives what is there; answers whether anything was.
    fn try_receive(&mut self) -> Result<bool, ReadError> {
        let room = self.frames.room()?;
        let size = room.len();
        let mut received = None;
        let attempt = self.stream.try_io(Interest::READABLE, || {
            let (count, descriptors) = receive_into(&self.stream, room)?;
            // Less than asked for: the socket is empty. Saying so now spares the attempt that would find it so. A read that
            // brings descriptors ends early, whatever follows them.
            let is_drained = count > 0 && count < size && descriptors.is_empty();
            received = Some((count, descriptors));
            if is_drained { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match (received, attempt) {
            (Some((0, _none)), _) => Err(ReadError::Closed),
            (Some((count, descriptors)), _) => {
                let arrived = self.frames.arrived(count, descriptors);
                self.held.set(self.frames.held());
                arrived.map(|()| true).map_err(ReadError::from)
            }
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            (None, Err(error)) => Err(error.into()),
            (None, Ok(())) => Ok(false),
        }
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

    /// Turns the connection into raw bytes, beginning with those that the peer sent early.
    ///
    /// # Panics
    /// If the writer is not that of the same connection.
    pub fn into_upgraded(self, writer: Writer) -> Upgraded {
        drop(writer);
        let stream = Arc::into_inner(self.stream).expect("reader and writer were the only owners");
        Upgraded::new(self.frames.into_rest(), stream)
    }
}

fn receive_into(stream: &UnixStream, room: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(stream, &mut [IoSliceMut::new(room)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}

/// Sends messages.
#[derive(Debug)]
pub struct Writer {
    stream: Arc<UnixStream>,
    buffer: Vec<u8>,
    /// Whether a message was begun and given up: nothing can follow it.
    is_midway: bool,
    held: Held,
}

/// How large the writer's buffer may stay between messages, in bytes: small messages reuse it, a large one is given back.
const WRITE_BUFFER_KEPT_MAX: usize = 4 * 1024;

/// What a peer that does not read occupies in the kernel's buffer, beside the message that does not fit any more, in bytes.
/// [`limit_send_buffer`] makes it so.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Bounds what the kernel keeps for a peer that does not read. Its usual bound is several times as much, and is paid by the
/// sender.
pub fn limit_send_buffer(stream: &UnixStream) -> io::Result<()> {
    // The kernel doubles it, for its own bookkeeping.
    Ok(rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES / 2)?)
}

impl Writer {
    /// Sends one message with the given file descriptors. Not cancel-safe: after a message whose sending was given up,
    /// sending fails.
    pub async fn send<T: Serialize>(&mut self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.is_midway {
            return Err(io::Error::other("the message before was given up"));
        }
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, message).map_err(io::Error::other)?;
        self.buffer.push(0);
        self.is_midway = true;
        let mut sent = 0;
        while sent < self.buffer.len() {
            let passed = if sent == 0 { fds } else { &[] };
            let rest = &self.buffer[sent..];
            match self.stream.try_io(Interest::WRITABLE, || send_from(&self.stream, rest, passed)) {
                Ok(bytes) => sent += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Whoever sends it has it, too.
                    self.held.set(2 * self.buffer.capacity() + SEND_BUFFER_BYTES);
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.is_midway = false;
        if self.buffer.capacity() > WRITE_BUFFER_KEPT_MAX {
            self.buffer = Vec::new();
        }
        self.held.set(0);
        Ok(())
    }
}

fn send_from(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        let text = format!("a message carries at most {DESCRIPTORS_MAX} descriptors, not {}", fds.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(rustix::net::sendmsg(stream, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?)
}
