//! What the nodes' failure detectors say, as the leader has heard it last.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use acp_base::Uid;
use acp_wire_api::hub::ReportRingRequest;

/// The newest report of each node.
#[derive(Debug, Default)]
pub(crate) struct Rings {
    reports: Mutex<BTreeMap<Uid, ReportRingRequest>>,
}

impl Rings {
    /// A node says what it holds of the others; what it said before does not count any more, nor what an earlier life says late.
    pub(crate) fn report(&self, node: Uid, report: ReportRingRequest) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.get(&node).is_none_or(|known| known.incarnation <= report.incarnation) {
            reports.insert(node, report);
        }
    }
}
