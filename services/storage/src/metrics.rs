//! What is counted.

use acp_wire_api::worker::ScanReply;

/// A worker that did not answer was replaced.
pub(crate) fn worker_replaced() {
    metrics::counter!("acp_storage_workers_replaced_total").increment(1);
}

/// The state of a pool.
pub(crate) fn pool(name: &str, scan: Option<&ScanReply>) {
    let gauge = |metric: &'static str, value: u64| {
        // Figures above 2^53 lose their last digits in a gauge, which nobody reads.
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating point numbers")]
        metrics::gauge!(metric, "pool" => name.to_owned()).set(value as f64);
    };
    gauge("acp_storage_pool_ready", u64::from(scan.is_some()));
    if let Some(scan) = scan {
        gauge("acp_storage_pool_capacity_bytes", scan.stats.capacity_bytes);
        gauge("acp_storage_pool_free_bytes", scan.stats.free_bytes);
        gauge("acp_storage_pool_volumes", u64::from(scan.stats.volumes));
        gauge("acp_storage_pool_images", u64::from(scan.stats.images));
    }
}

/// A job ended.
pub(crate) fn job_ended(verb: &'static str, is_ok: bool) {
    metrics::counter!("acp_storage_jobs_total", "verb" => verb, "ok" => is_ok.to_string()).increment(1);
}
