//! The side of a link that takes conversations.

use std::{convert::Infallible, future::Future, sync::Arc};

use acp_base::Failure;
use acp_io_daemon::Tasks;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::HeaderValue, server::conn::http2::Builder,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{
    Conversation, LinkError, Opening,
    conversation::{Outgoing, outgoing},
    limits::{
        CHUNK_BYTES, CONVERSATIONS_MAX, HEADERS_BYTES_MAX, KEEPALIVE, LINK_WINDOW_BYTES, RESETS_MAX,
        STREAM_WINDOW_BYTES,
    },
    link::{ANSWER_HEADER, Counted, FAILURE_HEADER},
    opening::HEADER,
};

/// What is done with conversations that a peer opens.
pub trait Handler: Send + Sync + 'static {
    /// The other end that was found for one.
    type Target: Send + 'static;

    /// Decides about an opening, prepares its other end and says what the opener is told of it. The conversation begins
    /// only if this succeeds.
    fn open(&self, opening: Opening) -> impl Future<Output = Result<(Self::Target, Value), Failure>> + Send;

    /// Carries the conversation on to its end.
    fn run(&self, target: Self::Target, conversation: Conversation) -> impl Future<Output = ()> + Send;
}

/// Takes conversations until the peer ends the link or the drain begins; those that are open then go on to their end.
pub async fn serve<S, H>(stream: S, handler: Arc<H>, tasks: Tasks, drain: CancellationToken) -> Result<(), LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let mut builder = Builder::new(Counted(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(LINK_WINDOW_BYTES)
        .max_frame_size(u32::try_from(CHUNK_BYTES + 9).ok())
        .max_concurrent_streams(CONVERSATIONS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .auto_date_header(false);
    let service = service_fn(move |request| {
        let (handler, tasks) = (handler.clone(), tasks.clone());
        async move { Ok::<_, Infallible>(begin(request, handler, &tasks).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(|error| {
        tracing::debug!(%error, "a link has ended");
        LinkError::Closed
    })
}

async fn begin<H: Handler>(request: Request<Incoming>, handler: Arc<H>, tasks: &Tasks) -> Response<Outgoing> {
    let opening = match request.headers().get(HEADER).map(|header| Opening::decode(header.as_bytes())) {
        Some(Ok(opening)) => opening,
        Some(Err(error)) => return denied(&Failure::invalid(format!("the conversation's opening: {error}"))),
        None => return denied(&Failure::invalid(format!("there is no header {HEADER}"))),
    };
    let (target, answer) = match handler.open(opening).await {
        Ok(taken) => taken,
        Err(failure) => return denied(&failure),
    };
    let (said, body) = outgoing();
    let conversation = Conversation::new(request.into_body(), said, None, Value::Null);
    tasks.spawn("conversation", async move { handler.run(target, conversation).await });
    let mut response = Response::new(body);
    if !answer.is_null() {
        say(&mut response, ANSWER_HEADER, &answer);
    }
    response
}

/// Says something as JSON in a header.
fn say<T: Serialize>(response: &mut Response<Outgoing>, header: &'static str, what: &T) {
    let told = serde_json::to_vec(what).ok().and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
    response.headers_mut().extend(told.map(|value| (hyper::header::HeaderName::from_static(header), value)));
}

/// The answer to an opening that is turned away.
fn denied(failure: &Failure) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::ended());
    *response.status_mut() = StatusCode::FORBIDDEN;
    say(&mut response, FAILURE_HEADER, failure);
    response
}
