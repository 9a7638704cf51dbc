//! A node with a new name: its daemons, which are told it when they start, are started again, one after the other.
//!
//! Guests and what else is made on request know nothing of a node's name and go on.

use acp_core_supervise::Input;
use acp_wire_model::unit::UnitState;

use crate::{service::Service, unit::Unit};

impl Service {
    /// Starts the next daemon again that runs under another name than the node's, once the one before is done with that.
    pub(crate) fn follow_name(&mut self) {
        let node = self.site.node();
        let runs_as_another = |unit: &&Unit| unit.template.boot && unit.machine.has_process() && unit.node != node;
        let Some(next) = self
            .units
            .values()
            .filter(runs_as_another)
            .min_by_key(|unit| self.site.catalog.position(&unit.name.template))
            .map(|unit| unit.name.clone())
        else {
            return;
        };
        if !self.units.values().any(is_on_the_way) {
            tracing::info!(unit = %next, %node, "the node has got another name: the daemon is started again under it");
            self.feed(&next, Input::Restart);
        }
    }
}

/// Whether a daemon stops or starts just now. One that crashes again and again is waited for by nobody.
fn is_on_the_way(unit: &Unit) -> bool {
    unit.template.boot && matches!(unit.machine.state(), UnitState::Starting | UnitState::Stopping)
}
