//! What is counted.

/// A step was performed, or failed.
pub(crate) fn step(done: bool) {
    let result = if done { "done" } else { "failed" };
    metrics::counter!("acp_network_steps_total", "result" => result).increment(1);
}

/// Intended and observed were compared.
pub(crate) fn reconciled() {
    metrics::counter!("acp_network_reconciles_total").increment(1);
}

/// The nftables table was replaced.
pub(crate) fn filter_replaced() {
    metrics::counter!("acp_network_filter_replacements_total").increment(1);
}

/// A tap was handed out.
pub(crate) fn tap_opened() {
    metrics::counter!("acp_network_taps_opened_total").increment(1);
}

/// How many networks are declared and how many of them are up.
pub(crate) fn networks(declared: usize, up: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; a node has far fewer networks than 2^52")]
    let (declared, up) = (declared as f64, up as f64);
    metrics::gauge!("acp_network_networks").set(declared);
    metrics::gauge!("acp_network_networks_up").set(up);
}
