//! What is counted.

use acp_core_membership::State;
use metrics::{counter, gauge};

use crate::log::Decision;

/// A node was admitted, for the first time or again.
pub(crate) fn admitted() {
    counter!("acp_hub_joins_total").increment(1);
}

/// A node was not admitted.
pub(crate) fn join_refused(reason: &'static str) {
    counter!("acp_hub_joins_refused_total", "reason" => reason).increment(1);
}

/// A certificate was signed.
pub(crate) fn certified() {
    counter!("acp_hub_certificates_total").increment(1);
}

/// A certificate was not renewed.
pub(crate) fn renewal_refused(reason: &'static str) {
    counter!("acp_hub_renewals_refused_total", "reason" => reason).increment(1);
}

/// Entries were ordered here.
pub(crate) fn ordered(decisions: &[Decision]) {
    let refused = decisions.iter().filter(|decision| decision.refused.is_some()).count();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    counter!("acp_hub_entries_total", "outcome" => "refused").increment(count(refused));
    counter!("acp_hub_entries_total", "outcome" => "done").increment(count(decisions.len() - refused));
}

/// The leader takes a node for something else.
pub(crate) fn judged(verdict: &'static str) {
    counter!("acp_hub_verdicts_total", "verdict" => verdict).increment(1);
}

/// What the membership holds now.
pub(crate) fn describe(state: &State) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; there are far fewer than 2^52")]
    let (members, revision) = (state.members().len() as f64, state.revision() as f64);
    gauge!("acp_hub_members").set(members);
    gauge!("acp_hub_revision").set(revision);
}

/// How many members watch the directory.
pub(crate) fn online(members: usize) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float; there are far fewer than 2^52")]
    gauge!("acp_hub_members_online").set(members as f64);
}
