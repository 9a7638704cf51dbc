//! One request to one operation: whose key, which parameters, how long, and whether it was executed before.

use std::{sync::Arc, time::Duration};

use acp_base::{Change, Code, Failure, Name, Retry};
use axum::{
    body::{Body, Bytes},
    extract::{RawPathParams, rejection::RawPathParamsRejection},
    http::{HeaderMap, Request, StatusCode, Uri, header, request::Parts},
};
use futures_util::StreamExt as _;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    access::Identity,
    answer::{Content, Reply},
    answers::{Begun, Fingerprint, Kept, Ticket},
    app::App,
    call::Call,
    limits::{
        AFTER_MAX, ANSWER_BYTES_MAX, BODY_BYTES_MAX, BODY_TIMEOUT, DEADLINE_DEFAULT, EVENT_ID_MAX, IDEMPOTENCY_KEY_MAX,
        REQUEST_ID_MAX, TIMEOUT_MS_MAX,
    },
    metrics,
    operation::{Operation, Verb},
    problem::Refusal,
    routes::REQUEST_ID,
    serve::Connection,
};

/// A request's id: the caller's, or one that is made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    /// The one in these headers, if it can be repeated in logs and headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        visible(headers, &REQUEST_ID, REQUEST_ID_MAX).ok().flatten().map_or_else(Self::fresh, |id| Self(id.into()))
    }

    /// A new one.
    pub(crate) fn fresh() -> Self {
        Self(acp_io_daemon::new_uid().simple().into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Serves a request. Answers whether the answer was given before, too.
pub(crate) async fn serve(
    app: Arc<App>,
    operation: Arc<Operation>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request<Body>,
) -> Result<(Reply, bool), Refusal> {
    let (parts, body) = request.into_parts();
    let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::fresh);
    // What is wrong with the limit is told to those alone who have a key.
    let (begun, limit) = (Instant::now(), time_limit(&parts.uri, &parts.headers));
    let until = begun + *limit.as_ref().unwrap_or(&DEADLINE_DEFAULT);
    let identity = match operation.scope {
        Some(_) => Some(app.authenticator.identify(&parts.headers, &id, until).await?),
        None => None,
    };
    limit?;
    let connection = identity.as_ref().and(parts.extensions.get::<Arc<Connection>>());
    let working = connection.map(Connection::work);
    let body = read_body(&operation, &parts.headers, body).await?;
    let call = Call { until, working, body, ..prepare(app, &operation, path, &parts, identity, &id)? };
    match idempotency_key(&operation, &parts.headers)? {
        Some(key) => once(operation, call, &key, &parts).await,
        None => execute(&operation, call).await.map(|reply| (reply, false)),
    }
}

/// Reads what the request says, all of it: a parameter that the operation does not have is refused.
fn prepare(
    app: Arc<App>,
    operation: &Operation,
    path: Result<RawPathParams, RawPathParamsRejection>,
    parts: &Parts,
    identity: Option<Arc<Identity>>,
    id: &RequestId,
) -> Result<Call, Refusal> {
    let path = path.map_err(|error| Failure::invalid(format!("the path: {error}")))?;
    let path: Vec<_> = path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let query = read_query(operation, &parts.uri)?;
    let find = |values: &[(String, String)], name: &str| {
        values.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    };
    let named = if operation.is_of_node { find(&path, "node").or_else(|| find(&query, "node")) } else { None };
    let node: Option<Name> =
        named.map(|text| text.parse()).transpose().map_err(|error| Failure::invalid(format!("node: {error}")))?;
    let mut client = app.client.with_request_id(id.as_str()).on(node.as_ref());
    if let Some(identity) = &identity {
        client = client.with_key(&identity.secret);
    }
    let last_event_id = if operation.is_watch { visible(&parts.headers, "last-event-id", EVENT_ID_MAX)? } else { None };
    let request_id = id.as_str().to_owned();
    let (until, working, body) = (Instant::now(), None, Bytes::new());
    Ok(Call { app, identity, working, client, node, until, request_id, path, query, last_event_id, body })
}

fn read_query(operation: &Operation, uri: &Uri) -> Result<Vec<(String, String)>, Failure> {
    let known = |name: &str| {
        operation.query.iter().any(|parameter| parameter.name == name) || (operation.is_of_node && name == "node")
    };
    let mut query: Vec<(String, String)> = Vec::new();
    for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let shown: String = name.chars().take(64).collect();
        if !known(&name) {
            return Err(Failure::invalid(format!("{shown:?} is no parameter of this operation")));
        }
        if query.iter().any(|(other, _)| *other == name) {
            return Err(Failure::invalid(format!("{shown} is there twice")));
        }
        if value.len() > AFTER_MAX {
            return Err(Failure::invalid(format!("{shown} is longer than {AFTER_MAX} bytes")));
        }
        query.push((name.into_owned(), value.into_owned()));
    }
    Ok(query)
}

/// How long the request may take: as its query says, else as its header says, else the usual time.
fn time_limit(uri: &Uri, headers: &HeaderMap) -> Result<Duration, Failure> {
    let read = |name: &str, text: String| {
        let wanted = text.parse().ok().filter(|wanted| (1..=TIMEOUT_MS_MAX).contains(wanted));
        wanted.map(Duration::from_millis).ok_or_else(|| {
            let shown: String = text.chars().take(32).collect();
            Failure::invalid(format!("{name}: {shown:?} is no number of milliseconds within 1 and {TIMEOUT_MS_MAX}"))
        })
    };
    let header = visible(headers, "x-request-timeout", 16)?.map(|text| read("x-request-timeout", text)).transpose()?;
    let mut query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let query = query.find(|(name, _)| name == "timeout_ms").map(|(_, text)| read("timeout_ms", text.into_owned()));
    let query = query.transpose()?;
    Ok(query.or(header).unwrap_or(DEADLINE_DEFAULT))
}

/// A header of visible ASCII characters, at most so many.
fn visible(
    headers: &HeaderMap,
    name: impl header::AsHeaderName + std::fmt::Display,
    longest: usize,
) -> Result<Option<String>, Failure> {
    let label = name.to_string();
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value
        .to_str()
        .ok()
        .filter(|text| (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()));
    let text = text.ok_or_else(|| Failure::invalid(format!("{label}: 1 to {longest} visible ASCII characters")))?;
    Ok(Some(text.to_owned()))
}

async fn read_body(operation: &Operation, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let read = timeout(BODY_TIMEOUT, collect(body)).await;
    let body = read.unwrap_or_else(|_elapsed| Err(Refusal::too_slow()))?;
    if body.is_empty() {
        return Ok(body);
    }
    if operation.body.is_none() {
        return Err(Failure::invalid("this operation takes no body").into());
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(crate::answer::JSON) { Ok(body) } else { Err(Refusal::not_json()) }
}

async fn collect(body: Body) -> Result<Bytes, Refusal> {
    let mut parts = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| Failure::invalid(format!("the body did not come whole: {error}")))?;
        if whole.len() + part.len() > BODY_BYTES_MAX {
            return Err(Refusal::too_large(BODY_BYTES_MAX));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.into())
}

fn idempotency_key(operation: &Operation, headers: &HeaderMap) -> Result<Option<String>, Failure> {
    if operation.verb == Verb::Post { visible(headers, "idempotency-key", IDEMPOTENCY_KEY_MAX) } else { Ok(None) }
}

/// Executes a request within its time.
async fn execute(operation: &Operation, call: Call) -> Result<Reply, Refusal> {
    let (until, is_get) = (call.until, operation.verb == Verb::Get);
    let (verb, path) = (operation.verb.name(), operation.path);
    let (key, id) = (call.identity.as_ref().map(Arc::clone), call.request_id.clone());
    let result = timeout_at(until, (operation.handler)(call)).await.unwrap_or_else(|_elapsed| {
        let changed = if is_get { Change::None } else { Change::Unknown };
        Err(Failure::new(Code::DeadlineExceeded, format!("{verb} {path} was not done in time")).changed(changed))
    });
    if !is_get {
        let key = key.as_deref().map_or("", Identity::name);
        let code = result.as_ref().err().map_or("", |failure| failure.code.name());
        tracing::info!(key, verb, path, code, request = id, "executed for a key");
    }
    Ok(result?)
}

/// Executes a request unless it was executed before. It goes on when its caller goes away: its answer is kept.
async fn once(operation: Arc<Operation>, call: Call, key: &str, parts: &Parts) -> Result<(Reply, bool), Refusal> {
    let owner = call.identity.as_ref().map_or(acp_base::Uid::from_u128(0), |identity| identity.uid());
    let ticket = Ticket::new(owner, key);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let app = Arc::clone(&call.app);
    match app.answers.begin(ticket, Fingerprint::new(operation.verb.name(), target, &call.body)).await? {
        Begun::Answered(kept) => {
            metrics::replayed();
            return Ok((replayed(kept)?, true));
        }
        Begun::Fresh => {}
    }
    let (answered, is_answered) = oneshot::channel();
    let running = Arc::clone(&app);
    let id = call.request_id.clone();
    app.tasks.spawn("request with an idempotency key", async move {
        let result = execute(&operation, call).await;
        match kept(&operation, &result, &id) {
            Some(kept) => running.answers.end(ticket, kept).await,
            None => running.answers.forget(ticket).await,
        }
        // Whoever asked may be gone.
        drop(answered.send(result));
    });
    let result =
        is_answered.await.map_err(|_ended| Failure::unavailable("the API is ending").changed(Change::Unknown))?;
    result.map(|reply| (reply, false))
}

/// What is kept of an answer; nothing of one that says that nothing changed and that a retry can help.
fn kept(operation: &Operation, result: &Result<Reply, Refusal>, request_id: &str) -> Option<Kept> {
    let (status, media_type, location, bytes) = match result {
        Ok(Reply { content: Content::Events(_), .. }) => return None,
        Ok(Reply { status, media_type, location, content: Content::Whole(bytes) }) => {
            (*status, *media_type, location.clone(), bytes.to_vec())
        }
        Err(refusal) if refusal.failure.changed == Change::None && refusal.failure.retry == Retry::Later => {
            return None;
        }
        Err(refusal) => {
            let problem = serde_json::to_vec(&refusal.to_problem(request_id)).unwrap_or_default();
            (refusal.status, crate::problem::MEDIA_TYPE, None, problem)
        }
    };
    let why = if operation.is_secret && status.is_success() {
        "the secret in its answer is kept nowhere: revoke what was made and make another"
    } else if bytes.len() > ANSWER_BYTES_MAX {
        "its answer is too large to be kept"
    } else {
        ""
    };
    let body = why.is_empty().then(|| String::from_utf8_lossy(&bytes).into_owned());
    Some(Kept { status: status.as_u16(), media_type: media_type.to_owned(), location, body, why: why.to_owned() })
}

fn replayed(kept: Kept) -> Result<Reply, Failure> {
    let status =
        StatusCode::from_u16(kept.status).map_err(|error| Failure::internal(format!("a kept answer: {error}")))?;
    let media_type =
        if kept.media_type == crate::problem::MEDIA_TYPE { crate::problem::MEDIA_TYPE } else { crate::answer::JSON };
    let content = Content::Whole(kept.body.unwrap_or_default().into());
    Ok(Reply { status, media_type, location: kept.location, content })
}
