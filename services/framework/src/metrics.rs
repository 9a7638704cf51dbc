//! What the daemon counts.

use acp_wire_model::unit::UnitState;

/// A process was started.
pub(crate) fn spawned(template: &str) {
    metrics::counter!("acp_framework_spawns_total", "template" => template.to_owned()).increment(1);
}

/// A process ended.
pub(crate) fn ended(template: &str) {
    metrics::counter!("acp_framework_ends_total", "template" => template.to_owned()).increment(1);
}

/// How many units are in each state.
pub(crate) fn units(states: impl Iterator<Item = UnitState>) {
    let all = [
        (UnitState::Stopped, "stopped"),
        (UnitState::Waiting, "waiting"),
        (UnitState::Starting, "starting"),
        (UnitState::Ready, "ready"),
        (UnitState::Stopping, "stopping"),
        (UnitState::Backoff, "backoff"),
        (UnitState::Failed, "failed"),
    ];
    let states: Vec<UnitState> = states.collect();
    for (state, name) in all {
        let count = states.iter().filter(|present| **present == state).count();
        metrics::gauge!("acp_framework_units", "state" => name)
            .set(u32::try_from(count).map_or(f64::INFINITY, f64::from));
    }
}
