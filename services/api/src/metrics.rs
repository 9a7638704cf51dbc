//! What is counted.

use std::time::Duration;

/// A request was answered.
pub(crate) fn answered(method: &'static str, status: u16, took: Duration) {
    let class = match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    };
    metrics::counter!("acp_api_requests_total", "method" => method, "status" => class).increment(1);
    // A sum, not a histogram: what a histogram samples stays in memory until somebody asks for the metrics.
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    metrics::counter!("acp_api_request_us_total", "method" => method).increment(took_us);
}

/// A request came without a valid key.
pub(crate) fn refused(reason: &'static str) {
    metrics::counter!("acp_api_refused_total", "reason" => reason).increment(1);
}

/// How many connections are open.
pub(crate) fn connections(count: usize) {
    metrics::gauge!("acp_api_connections").set(to_gauge(count));
}

/// A connection gave way to a newer one, or was turned away because all others serve.
pub(crate) fn displaced() {
    metrics::counter!("acp_api_connections_displaced_total").increment(1);
}

/// How many watches are open.
pub(crate) fn watches(count: usize) {
    metrics::gauge!("acp_api_watches").set(to_gauge(count));
}

/// An answer was given again for an idempotency key.
pub(crate) fn replayed() {
    metrics::counter!("acp_api_answers_replayed_total").increment(1);
}

fn to_gauge(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
