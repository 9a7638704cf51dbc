//! The side of a link that opens conversations.

use std::{fmt, future::Future, io, sync::Arc, time::Duration};

use acp_base::Failure;
use acp_io_daemon::Tasks;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Conversation, LinkError, Opening,
    conversation::{Outgoing, outgoing},
    error::timed_out,
    limits::{
        CHUNK_BYTES, CONVERSATIONS_MAX, HANDSHAKE_LIMIT, HEADERS_BYTES_MAX, KEEPALIVE, LINK_WINDOW_BYTES,
        STREAM_WINDOW_BYTES,
    },
    noted::{First, Noted},
    opening::HEADER,
};

/// The header in which the other side says why it turns a conversation away.
pub(crate) const FAILURE_HEADER: &str = "acp-failure";

/// The header in which the other side says something of a conversation that it takes.
pub(crate) const ANSWER_HEADER: &str = "acp-answer";

/// Runs what hyper starts as tasks that the daemon counts.
#[derive(Clone)]
pub(crate) struct Counted(pub(crate) Tasks);

impl<F> Executor<F> for Counted
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn("link", future);
    }
}

/// A connection on which this side opens conversations. Cheap to clone; it closes when the last clone and the last
/// conversation are gone.
#[derive(Clone)]
pub struct Link {
    sender: SendRequest<Outgoing>,
    places: Arc<Semaphore>,
    cut: CancellationToken,
    ended: CancellationToken,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("open", &self.is_open()).field("free", &self.places.available_permits()).finish()
    }
}

impl Link {
    /// Opens conversations over this stream, whose peer was verified. Returns when the peer has accepted this side, too.
    pub async fn over<S>(stream: S, tasks: &Tasks) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = Builder::new(Counted(tasks.clone()));
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(LINK_WINDOW_BYTES)
            .max_frame_size(u32::try_from(CHUNK_BYTES + 9).ok())
            .max_header_list_size(HEADERS_BYTES_MAX)
            .keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true);
        let (stream, mut first) = Noted::new(stream);
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| LinkError::Handshake(io::Error::other(error)))?;
        let (cut, ended) = (CancellationToken::new(), CancellationToken::new());
        let (is_cut, has_ended) = (cut.clone(), ended.clone().drop_guard());
        tasks.spawn("link", async move {
            let _told = has_ended;
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a link has ended");
                },
                () = is_cut.cancelled() => {}
            }
        });
        let begun = timeout(HANDSHAKE_LIMIT, first.wait_for(|first| *first != First::Nothing)).await;
        match begun.map_err(|_late| timed_out(HANDSHAKE_LIMIT))?.as_deref() {
            Ok(First::Words) => {}
            Ok(First::End(Some(unwelcome))) => return Err(LinkError::Unwelcome(*unwelcome)),
            Ok(First::Nothing | First::End(None)) | Err(_) => return Err(LinkError::Closed),
        }
        let places = Arc::new(Semaphore::new(CONVERSATIONS_MAX as usize));
        Ok(Self { sender, places, cut, ended })
    }

    /// How many conversations are open on it.
    pub fn conversations(&self) -> usize {
        (CONVERSATIONS_MAX as usize).saturating_sub(self.places.available_permits())
    }

    /// Ends it at once, with every conversation on it.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Returns when it has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether it still stands, as far as is known.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Opens a conversation; nothing was done on the other side if this fails, unless the error says so.
    pub async fn open(&self, opening: &Opening, limit: Duration) -> Result<Conversation, LinkError> {
        let full = |_full| LinkError::Full(CONVERSATIONS_MAX);
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(full)?;
        let (said, body) = outgoing();
        let request = Request::builder()
            .method(Method::POST)
            .uri("https://acp/conversation")
            .header(HEADER, opening.header()?)
            .body(body)
            .map_err(|_ill_formed| LinkError::Garbage)?;
        let mut sender = self.sender.clone();
        let exchange = async {
            sender.ready().await.map_err(|_closed| LinkError::Closed)?;
            sender.send_request(request).await.map_err(|_closed| LinkError::Closed)
        };
        let response = timeout(limit, exchange).await.map_err(|_late| timed_out(limit))??;
        let (incoming, answer) = accepted(response)?;
        Ok(Conversation::new(incoming, said, Some(place), answer))
    }
}

/// The other side's direction, and what it said of the conversation.
fn accepted(response: Response<Incoming>) -> Result<(Incoming, serde_json::Value), LinkError> {
    if response.status() == StatusCode::OK {
        let said = response.headers().get(ANSWER_HEADER).map(|said| serde_json::from_slice(said.as_bytes()));
        let said = said.transpose().map_err(|_garbage| LinkError::Garbage)?.unwrap_or_default();
        return Ok((response.into_body(), said));
    }
    let failure = response.headers().get(FAILURE_HEADER).ok_or(LinkError::Garbage)?;
    let failure: Failure = serde_json::from_slice(failure.as_bytes()).map_err(|_garbage| LinkError::Garbage)?;
    Err(LinkError::Denied(failure))
}
