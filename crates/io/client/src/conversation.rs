//! One connection to one socket, with one call at a time on it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::Duration,
};

use acp_base::{Change, Code, Failure};
use acp_io_varlink::{CallContext, IncomingReply, OutgoingCall, ReadError, Reader, Trace, Upgraded, Writer};
use acp_wire_api::{Flavor, Method, Scope, agent::Hop, error};
use tokio::{net::UnixStream, time::Instant};

use crate::pause::Pause;

/// The largest reply taken, in bytes. Services answer lists in batches far below it; the bound keeps a broken peer from
/// filling the caller's memory.
pub(crate) const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The pauses between attempts to connect: a socket that is missing or refuses belongs to a service that is starting.
const CONNECT_PAUSE_MIN: Duration = Duration::from_millis(2);
const CONNECT_PAUSE_MAX: Duration = Duration::from_millis(100);

/// A connection on which calls follow each other.
#[derive(Debug)]
pub struct Conversation {
    reader: Reader,
    writer: Writer,
    /// What the messages call the peer, like `cluster`.
    peer: String,
    /// The way to it, if agents carry what is said; they carry no file descriptors.
    pub(crate) way: Option<Vec<Hop>>,
    /// What the peer said of itself in its last reply.
    pub(crate) trace: Option<Trace<'static>>,
}

/// How far a call came before the connection failed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The call did not reach the peer.
    NotSent(Failure),
    /// It may have been executed.
    Lost(Failure),
    /// The peer answered with an error, or with what cannot be read.
    Answered(Failure),
}

impl CallError {
    /// Whether whoever was connected to went away before the call: its socket is there for its successor.
    pub(crate) fn is_unheard(&self) -> bool {
        matches!(self, Self::NotSent(failure) if failure.code == Code::Unavailable)
    }

    /// The failure of a call of `M`; one that only looks has changed nothing, however far it came.
    pub(crate) fn into_failure<M: Method>(self) -> Failure {
        match self {
            Self::Lost(failure) if M::ACCESS.scope != Scope::Read => failure.changed(Change::Unknown),
            Self::NotSent(failure) | Self::Answered(failure) | Self::Lost(failure) => failure,
        }
    }
}

impl Conversation {
    /// Connects to the socket at `path`, trying again until `deadline` while nobody listens there.
    pub async fn connect(path: &Path, peer: &str, deadline: Instant) -> Result<Self, Failure> {
        let mut pause = Pause::new(CONNECT_PAUSE_MIN, CONNECT_PAUSE_MAX);
        loop {
            let error = match UnixStream::connect(path).await {
                Ok(stream) => {
                    let (reader, writer) = acp_io_varlink::split(stream, REPLY_BYTES_MAX, None);
                    return Ok(Self { reader, writer, peer: peer.to_owned(), way: None, trace: None });
                }
                Err(error) => error,
            };
            if !is_starting(&error) || !pause.until(deadline).await {
                return Err(connect_failure(path, peer, &error));
            }
        }
    }

    /// The same connection, which its agent has made a conversation with `peer`. What came early stays to be read.
    pub(crate) fn carried(self, peer: String, way: Vec<Hop>) -> Self {
        Self { peer, way: Some(way), trace: None, ..self }
    }

    /// Whether agents carry what is said.
    pub(crate) const fn is_carried(&self) -> bool {
        self.way.is_some()
    }

    /// Whether the peer is there and has said nothing unasked. Does not wait.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.reader.is_idle()
    }

    /// What messages call the peer.
    pub(crate) fn peer(&self) -> &str {
        &self.peer
    }

    /// Returns when the peer has closed the connection.
    pub async fn closed(&self) {
        self.reader.closed().await;
    }

    /// Sends a call and waits for its reply. After an error other than the peer's answer the conversation is over.
    pub async fn call<M: Method>(&mut self, request: &M::Request, context: CallContext) -> Result<M::Reply, Failure> {
        self.exchange::<M>(request, &[], context).await.map(|(reply, _fds)| reply).map_err(CallError::into_failure::<M>)
    }

    pub(crate) async fn exchange<M: Method>(
        &mut self,
        request: &M::Request,
        fds: &[OwnedFd],
        context: CallContext,
    ) -> Result<(M::Reply, Vec<OwnedFd>), CallError> {
        self.send::<M>(request, fds, context, false).await?;
        let (reply, fds) = self.receive().await?;
        Ok((self.read::<M>(&reply).map_err(CallError::Answered)?, fds))
    }

    pub(crate) async fn send<M: Method>(
        &mut self,
        request: &M::Request,
        fds: &[OwnedFd],
        context: CallContext,
        more: bool,
    ) -> Result<(), CallError> {
        if self.is_carried() && !fds.is_empty() {
            let text = format!("{} takes a file descriptor, which cannot be passed to another node", M::NAME);
            return Err(CallError::NotSent(Failure::precondition(text)));
        }
        let upgrade = M::FLAVOR == Flavor::Upgrade;
        let call = OutgoingCall { method: M::NAME, parameters: request, more, upgrade, context: Some(context) };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = self.writer.send(&call, &fds).await;
        sent.map_err(|error| CallError::NotSent(Failure::unavailable(format!("cannot call {}: {error}", self.peer))))
    }

    pub(crate) async fn receive(&mut self) -> Result<(IncomingReply, Vec<OwnedFd>), CallError> {
        let received = self.reader.reply().await.map_err(|error| {
            let code = match error {
                ReadError::Closed | ReadError::TooSlow | ReadError::Io(_) => Code::Unavailable,
                ReadError::TooLarge(_) | ReadError::TooManyDescriptors | ReadError::Malformed(_) => Code::Internal,
            };
            CallError::Lost(Failure::new(code, format!("{} did not answer: {error}", self.peer)))
        });
        let (mut reply, fds) = received?;
        self.trace = reply.trace.take();
        Ok((reply, fds))
    }

    pub(crate) fn read<M: Method>(&self, reply: &IncomingReply) -> Result<M::Reply, Failure> {
        let text = reply.parameters.as_ref().map_or("{}", |parameters| parameters.get());
        match &reply.error {
            Some(name) => Err(error::to_failure(name, &serde_json::from_str(text).unwrap_or_default())),
            None => serde_json::from_str(text)
                .map_err(|error| Failure::internal(format!("cannot read the reply of {}: {error}", M::NAME))),
        }
    }

    pub(crate) fn into_upgraded(self) -> Upgraded {
        self.reader.into_upgraded(self.writer)
    }
}

fn is_starting(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock)
}

fn connect_failure(path: &Path, peer: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(
            Code::PermissionDenied,
            format!("may not open {}: be root or a member of its group", path.display()),
        ),
        io::ErrorKind::NotFound => Failure::unavailable(format!(
            "{peer} is not running: there is no socket {}; is the node up, and is this its run directory?",
            path.display()
        )),
        _ => Failure::unavailable(format!("{peer} does not answer at {}: {error}", path.display())),
    }
}
