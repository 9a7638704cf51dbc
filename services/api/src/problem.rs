//! Failures as HTTP says them: `application/problem+json` (RFC 9457).

use acp_base::{Blame, Change, Code, Failure, Retry};
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not served.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is, as a URI: `urn:acp:error:<kind>`.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What failed, why, and what to do.
    detail: String,
    /// The code of `acp.error`.
    code: Code,
    /// Who has to act.
    blame: Blame,
    /// Whether anything was changed.
    changed: Change,
    /// Whether the same request can succeed later.
    retry: Retry,
    /// The request's id, as in every log.
    request_id: String,
}

/// A request that is not served: its HTTP status and the failure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The last part of the problem's type.
    kind: &'static str,
    title: &'static str,
    pub(crate) failure: Failure,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let (status, title) = of(failure.code);
        Self { status, kind: failure.code.name(), title, failure }
    }
}

/// The one HTTP status of each code, and its title.
pub(crate) const fn of(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "The request is wrong"),
        Code::NotFound => (StatusCode::NOT_FOUND, "It does not exist"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "It exists"),
        Code::FailedPrecondition => (StatusCode::CONFLICT, "Its state forbids it"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "The key may not do this"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "A bound was reached"),
        Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "It was not done in time"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "A service does not answer"),
        Code::Conflict => (StatusCode::CONFLICT, "Two writers met"),
        Code::Cancelled => (StatusCode::CONFLICT, "It was cancelled"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "It is not known here"),
        Code::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, "Stored data does not verify"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "A defect of ACP"),
    }
}

impl Refusal {
    const fn new(status: StatusCode, kind: &'static str, title: &'static str, failure: Failure) -> Self {
        Self { status, kind, title, failure }
    }

    /// No key, or none that is known.
    pub(crate) fn unauthenticated(detail: &str) -> Self {
        let failure = Failure::new(Code::PermissionDenied, detail);
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated", "A valid key is needed", failure)
    }

    /// Too many answers are held back already.
    pub(crate) fn too_many_failures() -> Self {
        let text = "too many requests without a valid key at the moment: come back in a second";
        Failure::new(Code::ResourceExhausted, text).blame(Blame::Caller).into()
    }

    /// No such path.
    pub(crate) fn no_path(path: &str) -> Self {
        let path: String = path.chars().take(128).collect();
        Failure::not_found(format!("there is no {path:?} here; /v1/openapi.json lists every path")).into()
    }

    /// The path has other methods.
    pub(crate) fn no_method(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(128).collect();
        let failure = Failure::invalid(format!("{path:?} has no method {method}; the header Allow lists those it has"));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "The path has other methods", failure)
    }

    /// `Host` names somebody else.
    pub(crate) fn misdirected() -> Self {
        let text = "the header Host has to name this host's loopback: localhost, 127.0.0.1 or [::1]";
        let failure = Failure::invalid(text);
        Self::new(StatusCode::MISDIRECTED_REQUEST, "Misdirected", "The request is for another host", failure)
    }

    /// The body is no JSON by its own word.
    pub(crate) fn not_json() -> Self {
        let failure = Failure::invalid("the body has to be of the Content-Type application/json");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", "The body is of another type", failure)
    }

    /// The body is larger than what is taken.
    pub(crate) fn too_large(max: usize) -> Self {
        let text = format!("the body is larger than {max} bytes, the most that is taken");
        let failure = Failure::new(Code::ResourceExhausted, text).blame(Blame::Caller);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", "The body is too large", failure)
    }

    /// The body did not come.
    pub(crate) fn too_slow() -> Self {
        let failure = Failure::new(Code::DeadlineExceeded, "the body did not come in time").blame(Blame::Caller);
        Self::new(StatusCode::REQUEST_TIMEOUT, "TooSlow", "The request took too long", failure)
    }

    /// The idempotency key belongs to another request.
    pub(crate) fn other_request() -> Self {
        let text = "this Idempotency-Key was used for another request in the last 24 hours: use a new one";
        let failure = Failure::invalid(text);
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "IdempotencyMismatch", "The key is another request's", failure)
    }

    /// The request of this idempotency key is being executed.
    pub(crate) fn still_running() -> Self {
        let text = "the request with this Idempotency-Key is being executed: ask again for its answer";
        let failure = Failure::new(Code::Conflict, text);
        Self::new(StatusCode::CONFLICT, "IdempotencyRunning", "It is being executed", failure)
    }

    /// The request of this idempotency key was executed and its answer cannot be said again.
    pub(crate) fn answer_not_kept(why: &str) -> Self {
        let failure = Failure::precondition(format!("the request with this Idempotency-Key was executed; {why}"));
        Self::new(StatusCode::CONFLICT, "IdempotencyAnswerNotKept", "It was executed already", failure)
    }

    /// The request of this idempotency key was begun by a process that did not come to its end.
    pub(crate) fn outcome_unknown() -> Self {
        let text = "the request with this Idempotency-Key was begun before this API last started, and its outcome is not \
                    known: look at what it was to change, then use a new key";
        let failure = Failure::precondition(text).changed(Change::Unknown);
        Self::new(StatusCode::CONFLICT, "IdempotencyOutcomeUnknown", "Its outcome is not known", failure)
    }

    /// The answer to the request with this id.
    pub(crate) fn into_response(self, request_id: &str) -> Response<Body> {
        let problem = self.to_problem(request_id);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"acp\""));
        }
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }

    pub(crate) fn to_problem(&self, request_id: &str) -> Problem {
        Problem {
            kind: format!("urn:acp:error:{}", self.kind),
            title: self.title,
            status: self.status.as_u16(),
            detail: self.failure.message.clone(),
            code: self.failure.code,
            blame: self.failure.blame,
            changed: self.failure.changed,
            retry: self.failure.retry,
            request_id: request_id.to_owned(),
        }
    }
}
