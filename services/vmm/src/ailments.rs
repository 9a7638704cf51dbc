//! What the vmm does without, part by part, as one sentence for its health.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use acp_io_daemon::Health;

/// The parts that can ail; each speaks for itself and does not silence the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The connection to QEMU.
    Machine,
    /// The console's log.
    ConsoleLog,
    /// What is kept of the lease.
    Lease,
}

/// What ails. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ailments {
    health: Health,
    reasons: Arc<Mutex<BTreeMap<Part, String>>>,
}

impl Ailments {
    /// Nothing ails yet.
    pub(crate) fn new(health: Health) -> Self {
        Self { health, reasons: Arc::default() }
    }

    /// A part ails for this reason, or no more.
    pub(crate) fn set(&self, part: Part, reason: Option<String>) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        match reason {
            Some(reason) => drop(reasons.insert(part, reason)),
            None => drop(reasons.remove(&part)),
        }
        let all: Vec<_> = reasons.values().map(String::as_str).collect();
        self.health.degrade(all.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_recovers_does_not_silence_the_other() {
        let health = Health::default();
        let ailments = Ailments::new(health.clone());
        ailments.set(Part::ConsoleLog, Some("no log".into()));
        ailments.set(Part::Machine, Some("no QEMU".into()));
        assert_eq!(health.reason(), "no QEMU; no log");
        ailments.set(Part::Machine, None);
        assert_eq!(health.reason(), "no log");
        ailments.set(Part::ConsoleLog, None);
        assert_eq!(health.reason(), "");
    }
}
