//! What is counted.

/// A connection to QEMU's QMP was set up.
pub(crate) fn connected() {
    metrics::counter!("acp_vmm_qmp_connections_total").increment(1);
}

/// An event of QEMU arrived.
pub(crate) fn event() {
    metrics::counter!("acp_vmm_qmp_events_total").increment(1);
}

/// A reader of the console was skipped forward by this many bytes.
pub(crate) fn skipped(bytes: u64) {
    metrics::counter!("acp_vmm_console_skipped_bytes_total").increment(bytes);
}

/// The console's log was trimmed.
pub(crate) fn trimmed() {
    metrics::counter!("acp_vmm_console_log_trims_total").increment(1);
}
