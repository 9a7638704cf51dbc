//! The page at `/`: every operation with its parameters, to be tried. It asks this API and nobody else.

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Response, header},
    routing::{MethodFilter, on},
};

use crate::routes::whole;

/// Only what this API serves is loaded, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

/// The parts of the page: where, of which type, and what.
const PARTS: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("page/page.html")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("page/page.js")),
    ("/page.css", "text/css; charset=utf-8", include_str!("page/page.css")),
];

pub(crate) fn routes() -> Router {
    PARTS.into_iter().fold(Router::new(), |router, (path, media_type, text)| {
        router.route(path, on(MethodFilter::GET, move || std::future::ready(part(media_type, text))))
    })
}

fn part(media_type: &'static str, text: &'static str) -> Response<Body> {
    let mut response = whole(media_type, text);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}
