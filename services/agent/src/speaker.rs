//! Calls of the agent's own over a socket or a conversation that stands already.
//!
//! Deliberately not here: finding a service, waiting for it, and retries.

use std::time::Duration;

use acp_base::{Change, Code, Failure};
use acp_io_daemon::Tasks;
use acp_io_link::splice;
use acp_io_varlink::{CallContext, IncomingReply, OutgoingCall, ReadError, Reader, Upgraded, Writer};
use acp_wire_api::{Method, error};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};

use crate::limits::HUB_ANSWER_BYTES_MAX;

/// A caller on one stream.
#[derive(Debug)]
pub(crate) struct Speaker {
    reader: Reader,
    writer: Writer,
    peer: String,
}

impl Speaker {
    /// On a socket.
    pub(crate) fn on(stream: UnixStream, peer: &str) -> Self {
        let (reader, writer) = acp_io_varlink::split(stream, HUB_ANSWER_BYTES_MAX, None);
        Self { reader, writer, peer: peer.to_owned() }
    }

    /// On a conversation with another node. It ends with this speaker.
    pub(crate) fn over<S>(conversation: S, peer: &str, tasks: &Tasks) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let pair = UnixStream::pair();
        let (near, far) = pair.map_err(|error| Failure::unavailable(format!("cannot make a socket pair: {error}")))?;
        tasks.spawn("own conversation", async move {
            if let Err(error) = splice(far, conversation).await {
                tracing::debug!(%error, "a conversation with the hub was cut off");
            }
        });
        Ok(Self::on(near, peer))
    }

    /// Calls a method and waits for its reply, at most `limit`.
    pub(crate) async fn call<M: Method>(
        &mut self,
        request: &M::Request,
        id: &str,
        limit: Duration,
    ) -> Result<M::Reply, Failure> {
        let late = || {
            let text = format!("{} did not answer {} within {} ms", self.peer, M::NAME, limit.as_millis());
            Failure::new(Code::DeadlineExceeded, text).changed(Change::Unknown)
        };
        let late = late();
        let exchange = async {
            let deadline_ms = u64::try_from(limit.as_millis()).ok();
            self.send::<M>(request, CallContext { id: id.to_owned(), deadline_ms, ..CallContext::default() }, false)
                .await?;
            self.next::<M>().await
        };
        timeout(limit, exchange).await.map_err(|_late| late)?
    }

    /// Asks for every reply of a streaming method; [`Speaker::next`] takes them.
    pub(crate) async fn ask<M: Method>(&mut self, request: &M::Request) -> Result<(), Failure> {
        self.send::<M>(request, CallContext::default(), true).await
    }

    async fn send<M: Method>(&mut self, request: &M::Request, context: CallContext, more: bool) -> Result<(), Failure> {
        let call = OutgoingCall { method: M::NAME, parameters: request, more, upgrade: false, context: Some(context) };
        let sent = self.writer.send(&call, &[]).await;
        sent.map_err(|error| Failure::unavailable(format!("cannot call {}: {error}", self.peer)))
    }

    /// Every reply of a streaming method that comes to its end within `limit`.
    pub(crate) async fn all<M: Method>(
        &mut self,
        request: &M::Request,
        limit: Duration,
    ) -> Result<Vec<M::Reply>, Failure> {
        let late = format!("{} did not come to the end of {} within {} ms", self.peer, M::NAME, limit.as_millis());
        let collecting = async {
            self.ask::<M>(request).await?;
            let mut replies = Vec::new();
            loop {
                let (reply, continues) = self.next_of::<M>().await?;
                replies.push(reply);
                if !continues {
                    return Ok(replies);
                }
            }
        };
        timeout(limit, collecting).await.unwrap_or_else(|_late| Err(Failure::new(Code::DeadlineExceeded, late)))
    }

    /// The next reply. Cancel-safe.
    pub(crate) async fn next<M: Method>(&mut self) -> Result<M::Reply, Failure> {
        self.next_of::<M>().await.map(|(reply, _continues)| reply)
    }

    /// The next reply, and whether another one follows. Cancel-safe.
    pub(crate) async fn next_of<M: Method>(&mut self) -> Result<(M::Reply, bool), Failure> {
        let received = self.reader.reply().await;
        let (reply, _fds) = received.map_err(|error| {
            let code = if matches!(error, ReadError::Closed | ReadError::Io(_) | ReadError::TooSlow) {
                Code::Unavailable
            } else {
                Code::Internal
            };
            Failure::new(code, format!("{} did not answer: {error}", self.peer)).changed(Change::Unknown)
        })?;
        Ok((read::<M>(&reply)?, reply.continues))
    }

    /// The stream, beginning with what was sent after the last reply.
    pub(crate) fn into_raw(self) -> Upgraded {
        self.reader.into_upgraded(self.writer)
    }
}

fn read<M: Method>(reply: &IncomingReply) -> Result<M::Reply, Failure> {
    let text = reply.parameters.as_ref().map_or("{}", |parameters| parameters.get());
    match &reply.error {
        Some(name) => Err(error::to_failure(name, &serde_json::from_str(text).unwrap_or_default())),
        None => serde_json::from_str(text)
            .map_err(|error| Failure::internal(format!("cannot read the reply of {}: {error}", M::NAME))),
    }
}
