//! From the list of operations to routes, and what happens to every request before and after its operation.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawPathParams, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header},
    routing::{MethodFilter, on},
};
use tokio::time::Instant;

use crate::{
    answer::{Content, JSON, Reply},
    app::App,
    document::DOCUMENT_PATH,
    host, metrics,
    operation::Operation,
    page,
    problem::Refusal,
    request::{self, RequestId},
    serve::Connection,
};

/// The header of a request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Every route.
pub(crate) fn router(app: &Arc<App>, operations: Vec<Operation>) -> Router {
    let mut router = page::routes();
    let document = app.document.clone();
    router = router.route(DOCUMENT_PATH, on(MethodFilter::GET, move || std::future::ready(whole(JSON, document))));
    for operation in operations {
        let operation = Arc::new(operation);
        for place in operation.places() {
            router = route(router, app, &operation, &place.path);
        }
    }
    router.fallback(no_path).method_not_allowed_fallback(no_method)
}

fn route(router: Router, app: &Arc<App>, operation: &Arc<Operation>, path: &str) -> Router {
    let (app, served) = (Arc::clone(app), Arc::clone(operation));
    let handler = move |path: Result<RawPathParams, RawPathParamsRejection>, request: Request<Body>| async move {
        let id = request_id(&request);
        match request::serve(app, served, path, request).await {
            Ok((reply, is_replayed)) => to_response(reply, is_replayed),
            Err(refusal) => refusal.into_response(id.as_str()),
        }
    };
    router.route(path, on(operation.verb.filter(), handler))
}

async fn no_path(request: Request<Body>) -> Response<Body> {
    Refusal::no_path(request.uri().path()).into_response(request_id(&request).as_str())
}

async fn no_method(request: Request<Body>) -> Response<Body> {
    let refusal = Refusal::no_method(request.method().as_str(), request.uri().path());
    refusal.into_response(request_id(&request).as_str())
}

fn request_id<B>(request: &Request<B>) -> RequestId {
    request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::fresh)
}

/// An answer that is all there.
pub(crate) fn whole(media_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn to_response(reply: Reply, is_replayed: bool) -> Response<Body> {
    let mut response = match reply.content {
        Content::Whole(bytes) => whole(reply.media_type, bytes),
        Content::Events(body) => {
            let mut response = Response::new(body);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.media_type));
            response
        }
    };
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    if reply.status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_TYPE);
    }
    if let Some(location) = reply.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        headers.insert(header::LOCATION, location);
    }
    if is_replayed {
        headers.insert(HeaderName::from_static("idempotency-replayed"), HeaderValue::from_static("true"));
    }
    response
}

/// Serves one request of a connection: whom it is for, its id, its route, what every answer says.
pub(crate) async fn serve<B>(
    router: hyper_util::service::TowerToHyperService<Router>,
    connection: Arc<Connection>,
    mut request: Request<B>,
) -> Result<Response<Body>, Infallible>
where
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let begun = Instant::now();
    let (method, path) = (known_method(request.method()), request.uri().path().chars().take(256).collect::<String>());
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(connection);
    let mut response = if !host::is_ours(&request) || has_foreign_origin(request.headers()) {
        metrics::refused("host");
        Refusal::misdirected().into_response(id.as_str())
    } else {
        hyper::service::Service::call(&router, request.map(Body::new)).await?
    };
    say(&mut response, &id);
    told(method, &path, response.status(), begun.elapsed(), &id);
    Ok(response)
}

/// A page of another site that sends a request says where it comes from.
fn has_foreign_origin(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| !origin.to_str().is_ok_and(host::is_our_origin))
}

/// What every answer says: its request's id, that nothing keeps it, and that it is nothing but what it claims to be.
fn say(response: &mut Response<Body>, id: &RequestId) {
    const ALWAYS: [(HeaderName, &str); 4] = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::try_from(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
}

fn told(method: &'static str, path: &str, status: StatusCode, took: Duration, id: &RequestId) {
    metrics::answered(method, status.as_u16(), took);
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(method, path, status = status.as_u16(), took_us, request = id.as_str(), "request answered");
}

/// Methods are counted by name; those that nothing here has are one.
const fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}
