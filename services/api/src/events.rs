//! Server-sent events from the replies of a streaming method.

use std::convert::Infallible;

use acp_base::Failure;
use acp_io_client::Replies;
use acp_wire_api::Method;
use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use futures_util::stream;
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use utoipa::PartialSchema as _;

use crate::{
    answer::{Answer, Content, Possible, Reply, Schemas},
    call::Call,
    limits::{KEEP_ALIVE, REFUSAL_TIMEOUT},
    problem::Refusal,
    serve::Working,
    watches::Permit,
};

/// The media type.
const MEDIA_TYPE: &str = "text/event-stream";

/// Events as they come.
#[derive(Debug)]
pub(crate) struct Events(Body);

/// Events as text.
#[derive(Debug, Default)]
pub(crate) struct Rendered(String);

impl Rendered {
    /// Adds an event. JSON on one line cannot hold the line ends that end a field.
    pub(crate) fn event<T: Serialize>(&mut self, name: &str, id: Option<&str>, data: &T) {
        let data =
            serde_json::to_string(data).unwrap_or_else(|error| format!("{{\"unwritable\":{:?}}}", error.to_string()));
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        self.0.push_str(&format!("event: {name}\n{id}data: {data}\n\n"));
    }

    fn into_bytes(self) -> Bytes {
        self.0.into()
    }
}

/// How a reply becomes events.
type Render<M> = fn(&<M as Method>::Reply, &mut Rendered);

/// A watch that is being told.
struct Telling<M: Method> {
    replies: Replies<M>,
    first: Option<M::Reply>,
    render: Render<M>,
    drain: CancellationToken,
    request_id: String,
    _permit: Permit,
    _working: Option<Working>,
    is_over: bool,
}

impl Events {
    /// Waits for the first reply, so that a refusal is a problem with its status, then tells this one and all that follow.
    pub(crate) async fn start<M: Method>(
        call: &Call,
        permit: Permit,
        mut replies: Replies<M>,
        render: Render<M>,
    ) -> Result<Self, Failure> {
        let first = first(&mut replies).await?;
        Ok(Self::tell(call, permit, replies, Some(first), render))
    }

    /// The same for a method that replies only when there is news: a refusal comes at once, or not at all.
    pub(crate) async fn start_quiet<M: Method>(
        call: &Call,
        permit: Permit,
        mut replies: Replies<M>,
        render: Render<M>,
    ) -> Result<Self, Failure> {
        let first = match timeout(REFUSAL_TIMEOUT, first(&mut replies)).await {
            Ok(first) => Some(first?),
            Err(_nothing_new) => None,
        };
        Ok(Self::tell(call, permit, replies, first, render))
    }

    fn tell<M: Method>(
        call: &Call,
        permit: Permit,
        replies: Replies<M>,
        first: Option<M::Reply>,
        render: Render<M>,
    ) -> Self {
        let telling = Telling {
            replies,
            first,
            render,
            drain: call.app.drain.clone(),
            request_id: call.request_id.clone(),
            _permit: permit,
            _working: call.working.clone(),
            is_over: false,
        };
        Self(Body::from_stream(stream::unfold(telling, Telling::next)))
    }
}

async fn first<M: Method>(replies: &mut Replies<M>) -> Result<M::Reply, Failure> {
    replies.next().await.unwrap_or_else(|| Err(Failure::unavailable("the watch ended at once")))
}

impl<M: Method> Telling<M> {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        let reply = match self.first.take() {
            Some(first) => Some(Ok(first)),
            None => tokio::select! {
                () = self.drain.cancelled() => return None,
                news = timeout(KEEP_ALIVE, self.replies.next()) => match news {
                    Ok(news) => news,
                    Err(_silence) => return Some((Ok(Bytes::from_static(b": nothing new\n\n")), self)),
                },
            },
        };
        let mut out = Rendered::default();
        match reply? {
            Ok(reply) => (self.render)(&reply, &mut out),
            Err(failure) => {
                self.is_over = true;
                out.event("problem", None, &Refusal::from(failure).to_problem(&self.request_id));
            }
        }
        Some((Ok(out.into_bytes()), self))
    }
}

impl Answer for Events {
    fn possible() -> Vec<Possible> {
        let content = Some((MEDIA_TYPE, String::schema()));
        let about = "Events as they come; comments when there are none. An event `problem` says why it ends early.";
        vec![Possible { status: StatusCode::OK, about, content, has_location: false }]
    }

    fn schemas(_schemas: &mut Schemas) {}

    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply { status: StatusCode::OK, media_type: MEDIA_TYPE, location: None, content: Content::Events(self.0) })
    }
}
