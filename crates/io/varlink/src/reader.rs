//! The receiving half of a connection.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::{
    io::Interest,
    net::UnixStream,
    time::{Instant, timeout_at},
};

use crate::{
    IncomingCall, IncomingReply, Upgraded, Writer,
    frames::{DESCRIPTORS_MAX, Frames, Overflow},
    socket::Held,
};

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
    pub(crate) fn new(stream: Arc<UnixStream>, message_bytes_max: usize, held: Held) -> Self {
        Self { stream, frames: Frames::new(message_bytes_max), begun: None, held }
    }

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

    /// Whether the peer has neither closed the connection nor sent anything: it can take a call. Does not wait.
    pub fn is_idle(&mut self) -> bool {
        let mut byte = [0_u8];
        let look = rustix::net::recv(&*self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
        !self.frames.has_message() && !self.frames.is_midway() && matches!(look, Err(rustix::io::Errno::AGAIN))
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
    let received = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(room)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok((received.bytes, descriptors))
}
