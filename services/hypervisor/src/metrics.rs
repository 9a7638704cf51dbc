//! The daemon's own figures.

use std::time::Duration;

use acp_wire_model::system::ExitReason;

/// A start by an operator came to running.
pub(crate) fn started(took: Duration) {
    metrics::counter!("acp_hypervisor_starts_total").increment(1);
    metrics::histogram!("acp_hypervisor_start_seconds").record(took.as_secs_f64());
}

/// A system that ran has ended.
pub(crate) fn exited(reason: ExitReason) {
    let reason = match reason {
        ExitReason::GuestPoweroff => "guest_poweroff",
        ExitReason::Stopped => "stopped",
        ExitReason::Killed => "killed",
        ExitReason::OutOfMemory => "out_of_memory",
        ExitReason::Crashed => "crashed",
        ExitReason::StartFailed => "start_failed",
    };
    metrics::counter!("acp_hypervisor_exits_total", "reason" => reason).increment(1);
}

/// Systems of this node.
pub(crate) fn systems(count: usize) {
    metrics::gauge!("acp_hypervisor_systems").set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}
